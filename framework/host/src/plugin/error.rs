//! Why a batch call on an instance failed.

use std::io;

use thiserror::Error;

/// Why a batch call failed. Either way the instance is finished: drop it and open another after a back-off.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The plugin panicked, now or before; its log has the message.
    #[error("the plugin panicked")]
    Panicked,
    /// The plugin reports an I/O error, or the call broke the contract.
    #[error(transparent)]
    Io(#[from] io::Error),
}
