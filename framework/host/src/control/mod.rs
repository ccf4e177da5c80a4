//! Control.
pub mod session;
