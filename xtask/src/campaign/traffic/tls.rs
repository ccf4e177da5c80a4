//! Downloads over TLS by unmodified openssl, each compared with what the server has.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{End, Talk, Way};
use crate::{interrupt, iperf3};

const FIRST_PORT: u16 = 4433;
/// Of the file that is downloaded.
const SIZE: usize = 16 << 20;
/// For one download.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two.
const PAUSE: Duration = Duration::from_secs(2);

/// What came of the downloads in one direction.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Downloads {
    pub(crate) way: &'static str,
    /// With the right SHA-256.
    pub(crate) whole: usize,
    pub(crate) failures: Vec<String>,
    /// Of the whole ones.
    pub(crate) mean_seconds: f64,
}

/// The server's side.
struct Site {
    folder: PathBuf,
    certificate: PathBuf,
    sum: String,
}

/// Downloads for as long as there is time. The bytes go along `way`: its far end asks.
///
/// # Errors
/// If the server cannot be set up, or a signal came. A download that fails is told in the answer.
pub(crate) fn run(talk: &Talk, way: Way) -> anyhow::Result<Downloads> {
    let (server, client) = talk.ends(way);
    let site = Site::make(&talk.files.join(format!("tls-{}", way.name())))?;
    let port = way.port(FIRST_PORT);
    let mut serving = site.serve(talk, server, port)?;
    let mut downloads = Downloads { way: way.name(), whole: 0, failures: Vec::new(), mean_seconds: 0.0 };
    let mut seconds = 0.0;
    while talk.goes_on() {
        let begin = Instant::now();
        match site.fetch(talk, client, &format!("{}:{port}", server.v4)) {
            Ok(sum) if sum == site.sum => {
                downloads.whole += 1;
                seconds += begin.elapsed().as_secs_f64();
            }
            Ok(_) => downloads.failures.push("the file differs from the server's".to_owned()),
            Err(error) => downloads.failures.push(format!("{error:#}")),
        }
        std::thread::sleep(PAUSE.min(talk.left()));
    }
    serving.kill().context("end the TLS server")?;
    serving.wait().context("wait for the TLS server")?;
    downloads.mean_seconds = if downloads.whole > 0 { seconds / downloads.whole as f64 } else { 0.0 };
    interrupt::check()?;
    Ok(downloads)
}

impl Site {
    /// A certificate, and a whole HTTP answer to be served as it is.
    fn make(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let certificate = folder.join("certificate.pem");
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        request.args(["-days", "2", "-subj", "/CN=campaign", "-out"]).arg(&certificate);
        let output = request.arg("-keyout").arg(folder.join("key.pem")).output().context("start openssl")?;
        if !output.status.success() {
            bail!("openssl req: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n".to_vec();
        answer.extend(noise(SIZE));
        fs::write(folder.join("answer"), &answer).context("write what is downloaded")?;
        Ok(Self { folder: folder.to_owned(), certificate, sum: sum_of(&answer) })
    }

    fn serve(&self, talk: &Talk, end: &End, port: u16) -> anyhow::Result<Child> {
        let mut command = Command::new("openssl");
        command.current_dir(&self.folder).args(["s_server", "-quiet", "-HTTP", "-accept", &port.to_string()]);
        command.arg("-cert").arg(&self.certificate).args(["-key", "key.pem"]);
        let log = File::create(self.folder.join("server.log")).context("create a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = talk.lab.spawn(&end.guest, &mut command)?;
        iperf3::wait_until_listening(talk.lab, &end.guest, port)?;
        Ok(child)
    }

    /// The SHA-256 of what came.
    fn fetch(&self, talk: &Talk, end: &End, at: &str) -> anyhow::Result<String> {
        let got = self.folder.join("got");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-connect", at, "-CAfile"]);
        command.arg(&self.certificate).stdin(Stdio::piped()).stderr(Stdio::null());
        command.stdout(File::create(&got).context("create a file to download to")?);
        let mut child = talk.lab.spawn(&end.guest, &mut command)?;
        let asked =
            child.stdin.take().expect("standard input is piped").write_all(b"GET /answer HTTP/1.0\r\n\r\n");
        let ended = interrupt::wait_for("the end of a download", PATIENCE, || Ok(child.try_wait()?));
        // One that has ended already cannot be killed.
        let _ = child.kill();
        child.wait().context("wait for a download")?;
        asked.context("ask for a download")?;
        ended?;
        Ok(sum_of(&fs::read(&got).context("read what came")?))
    }
}

fn sum_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Octets without a pattern (xorshift64), so that no shifted or repeated block looks right.
fn noise(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_written_in_hexadecimal() {
        assert!(sum_of(b"abc").starts_with("ba7816bf8f01cfea"));
        assert_ne!(noise(64).collect::<Vec<_>>(), noise(65).skip(1).collect::<Vec<_>>());
    }
}
