//! The administrator's door: a unix socket that only the server's own user may open. One question and one answer
//! per connection, each one line of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::protocol::Reservation;
use crate::error::{Error, Result, io_error};

/// Longest line, in bytes.
const LONGEST_LINE: u64 = 16 << 20;

/// What the administrator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Everybody's reservations.
    List,
    /// End a reservation, whoever's it is.
    Terminate {
        /// Its handle.
        handle: String,
    },
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Owners and their reservations, by number.
    Reservations(Vec<(String, Reservation)>),
    /// It is over.
    Terminated,
    /// Nothing was done; one line.
    Refused(String),
}

/// Asks the server at the socket.
pub fn ask(socket: &Path, question: &Question) -> std::io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Binds the socket with mode 0600; a dead server's socket makes way, anything else does not.
pub(super) fn listen(path: &Path) -> Result<UnixListener> {
    if let Ok(meta) = path.symlink_metadata() {
        if !meta.file_type().is_socket() {
            return Err(Error::Gara { reason: format!("{} is not a socket", path.display()) });
        }
        if UnixStream::connect(path).is_ok() {
            return Err(Error::Gara { reason: format!("another server listens on {}", path.display()) });
        }
        std::fs::remove_file(path).map_err(io_error("remove", path.display()))?;
    }
    let usual = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(usual);
    let listener = bound.map_err(io_error("listen on", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(io_error("protect", path.display()))?;
    listener.set_nonblocking(true).map_err(io_error("set up", path.display()))?;
    Ok(listener)
}

/// Serves one connection: `answer` carries the question out.
pub(super) async fn serve<F: Future<Output = Option<Answer>>>(
    stream: tokio::net::UnixStream,
    answer: impl FnOnce(Question) -> F,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(reader.take(super::protocol::LONGEST_LINE as u64));
    reader.read_until(b'\n', &mut line).await?;
    let answer = match serde_json::from_slice(&line) {
        Ok(question) => answer(question).await.unwrap_or(Answer::Refused("the server is ending".to_owned())),
        Err(error) => Answer::Refused(format!("not a question: {error}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
