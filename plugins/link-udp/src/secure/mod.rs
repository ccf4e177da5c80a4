//! The secure format: frames sealed in UDP datagrams between nodes that know each other's public key.
//!
//! A pure protocol core: no sockets and no clock; time, randomness and datagrams are parameters. The endpoint
//! puts what comes in into [`Secure::handle`] (handshakes, control) and [`Secure::opener`] (frames), takes
//! what must go out from [`Secure::poll`], and seals frames with [`Secure::sealer`].
//!
//! ```text
//! initiation  1 │ lane │ 0 0 │ sender's index   │ Noise IK, message 1 (108)   │ mac1 16 │ mac2 16    148 bytes
//! response    2 │ lane │ 0 0 │ receiver's index │ Noise IK, message 2 (56)    │ mac1 16               80
//! cookie      3 │ lane │ 0 0 │ receiver's index │ salt 16 │ sealed cookie 32                          56
//! data        4 │ lane │ 0 0 │ receiver's index │ counter 8 │ one Ethernet frame, sealed │ tag 16     32 + frame
//! control     5 │ lane │ 0 0 │ receiver's index │ counter 8 │ kind, size, padding        │ tag 16
//! ```
//!
//! Numbers are little endian. What the handshake proves and why it is silent: `handshake`, `gate`. How a pair
//! of nodes has sessions: `far`. Which of a node's workers a datagram reaches: `lanes`. How large a frame the
//! path takes: `pmtu`.

mod answer;
mod cipher;
mod cookie;
mod drive;
mod drops;
mod entropy;
mod far;
mod gate;
mod handshake;
mod index;
mod lanes;
mod pmtu;
mod protocol;
mod session;
mod traffic;
mod window;
mod wire;

pub use cipher::Preference;
pub use drops::SecureDrop;
pub use entropy::{Entropy, SystemEntropy};
pub use lanes::Lane;
pub use pmtu::PathLimits;
pub use protocol::{Event, Secure, Setup, Transmit};
pub use traffic::{Opener, Sealer};
pub use wire::{HEADER, Kind, OVERHEAD, TAG};
