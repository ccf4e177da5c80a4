//! Asking an ODIN server.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::protocol::{Reply, Request, read_line, write_line};

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens; nothing was asked.
    #[error("cannot reach the server at {socket}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The request went out and no reply came back whole: it may have been carried out.
    #[error("no answer from the server; the request may have been carried out")]
    Unanswered {
        /// The system's or the parser's reason.
        source: std::io::Error,
    },
}

/// Sends one request and waits for its reply, however long the switches take.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, AskError> {
    let stream = UnixStream::connect(socket)
        .map_err(|source| AskError::Unreachable { socket: socket.display().to_string(), source })?;
    let mut writer = &stream;
    write_line(&mut writer, request)
        .and_then(|()| read_line(BufReader::new(&stream)))
        .map_err(|source| AskError::Unanswered { source })
}
