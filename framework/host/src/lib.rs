//! The VRESERVE host: the thin shell around the core.
//!
//! [`config`] reads the node's file, [`loader`] and [`plugin`] bring in the plugins, [`dataplane`] is the
//! thread that every frame passes through, [`control`] what nodes tell each other, [`api`] what operators
//! are told. [`store`] keeps what must survive. [`replay`] runs the control plane on a capture. [`daemon`] puts them together; [`cli`] is the command line.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod keys;
pub mod loader;
pub mod plugin;
pub mod replay;
pub mod store;
