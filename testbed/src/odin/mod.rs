//! A stand-in for ODIN (IEEE Comm. Mag. 44(3), 2006), the service that set up lightpaths on OMNInet.
//!
//! The server runs on the trusted host, inside the optical network's namespace, and really switches. What is
//! original: the client's command line, the serial configuration, immediate success or failure, the times.
//! What is ours, since it was never published: the wire protocol and the client's output.
//!
//! [`fabric`] decides, [`window`] when, `switching` turns a decision into `ip` commands, [`timing`] says how long the real
//! switches took, [`server`] does all that over a socket, [`client`] asks.

pub mod client;
pub mod fabric;
pub mod protocol;
pub mod server;
mod switching;
pub mod timing;
pub mod window;
mod worker;
