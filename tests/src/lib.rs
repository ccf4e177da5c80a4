//! Whole-daemon scenarios on real namespaces.
