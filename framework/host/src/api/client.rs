//! The client's side of the control API; blocking, for the command line and tests.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::Request;

/// The daemon answers within this time, or it hangs.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// A reload opens plugins and asks backends how they are.
const RELOAD_TIME: Duration = Duration::from_secs(75);

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApiError {
    /// Nobody listens at the socket.
    #[error("no daemon answers at {socket}")]
    NoDaemon {
        /// The socket.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection to the daemon")]
    Io(#[from] io::Error),
    /// The answer cannot be read.
    #[error("malformed answer from the daemon")]
    Malformed(#[from] serde_json::Error),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks one question and returns the answer as JSON.
///
/// # Errors
/// If no daemon answers, or it answers with an error.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, ApiError> {
    let stream = connect(socket, request)?;
    let time = if *request == Request::Reload { RELOAD_TIME } else { ANSWER_TIME };
    stream.set_read_timeout(Some(time))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(reason) => Err(ApiError::Refused(reason.to_owned())),
        None => Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default()),
    }
}

/// Asks one question and reads the answer as a `T`.
///
/// # Errors
/// As [`ask`], and if the answer is none.
pub fn ask_as<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, ApiError> {
    Ok(serde_json::from_value(ask(socket, request)?)?)
}

/// The events, one JSON line each, until the daemon ends or the caller stops reading.
///
/// # Errors
/// If no daemon answers.
pub fn events(socket: &Path, follow: bool) -> Result<impl Iterator<Item = io::Result<String>>, ApiError> {
    let stream = connect(socket, &Request::Events { follow })?;
    if !follow {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(BufReader::new(stream).lines())
}

fn connect(socket: &Path, request: &Request) -> Result<UnixStream, ApiError> {
    let mut stream = UnixStream::connect(socket)
        .map_err(|source| ApiError::NoDaemon { socket: socket.display().to_string(), source })?;
    let line = serde_json::to_string(request)?;
    writeln!(stream, "{line}")?;
    Ok(stream)
}
