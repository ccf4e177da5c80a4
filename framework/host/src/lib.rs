//! The VRESERVE daemon and command line.
