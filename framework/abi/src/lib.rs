//! The C-layout tables that a plugin and the host share.
