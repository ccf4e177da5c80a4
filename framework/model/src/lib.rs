//! The plain vocabulary types that plugins, core and host share.
