//! `oclient`: the original command line of ODIN's client. The manual is testbed/README.md.
//!
//! Exit code 0 done, 1 refused, 2 wrong usage, 3 server not reached, 4 no such path, 5 outcome unknown.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use vreserve_testbed::odin::client::{AskError, ask};
use vreserve_testbed::odin::protocol::{PathId, PathReport, Refusal, Reply, Request, seconds};

const USAGE: &str = "usage: oclient -c <srcIP> <dstIP> <lambda#> <flags>\n       oclient -t <pathID>";
/// Where the server listens, unless the variable says otherwise.
const SOCKET: &str = "/run/odin/odin.sock";
const SOCKET_VARIABLE: &str = "ODIN_SERVER";

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let request = match parse(&words) {
        Ok(request) => request,
        Err(reason) => return fail(2, &format!("{reason}\n{USAGE}")),
    };
    let socket = std::env::var_os(SOCKET_VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from);
    match ask(&socket, &request) {
        Ok(reply) => report(reply),
        Err(error @ AskError::Unreachable { .. }) => fail(3, &with_cause(&error)),
        Err(error) => fail(5, &with_cause(&error)),
    }
}

fn parse(words: &[String]) -> Result<Request, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["-c", source, destination, lambda, flags @ ..] => Ok(Request::Create {
            source: source.parse().map_err(|_| format!("`{source}` is not an IPv4 address"))?,
            destination: destination
                .parse()
                .map_err(|_| format!("`{destination}` is not an IPv4 address"))?,
            lambda: lambda.parse().map_err(|_| format!("`{lambda}` is not a lambda number"))?,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }),
        ["-t", path] => Ok(Request::Teardown {
            path: PathId(path.parse().map_err(|_| format!("`{path}` is not a path id"))?),
        }),
        _ => Err("neither a path to create nor one to tear down".to_owned()),
    }
}

/// What is printed of a path, after its first line.
fn details(path: &PathReport) -> String {
    let PathReport { source, destination, lambda, switches, start_ms, end_ms, .. } = path;
    let mut text = format!(
        "source {source}\ndestination {destination}\nlambda {lambda}\nswitches {}\n",
        switches.join(" ")
    );
    for (word, ms) in [("start", start_ms), ("end", end_ms)] {
        text.extend(ms.map(|ms| format!("{word} {}\n", seconds(ms))));
    }
    text
}

fn report(reply: Reply) -> ExitCode {
    let text = match reply {
        Reply::Up { path, software_seconds, hardware_seconds } => format!(
            "path {} up\n{}software-seconds {software_seconds:.3}\nhardware-seconds {hardware_seconds:.3}\n",
            path.id,
            details(&path),
        ),
        Reply::Booked { path } => format!("path {} booked\n{}", path.id, details(&path)),
        Reply::Down { path, hardware_seconds } => {
            format!("path {path} down\nhardware-seconds {hardware_seconds:.3}\n")
        }
        Reply::Refused(refusal @ Refusal::NoSuchPath { .. }) => {
            return fail(4, &format!("refused: {refusal}"));
        }
        Reply::Refused(refusal) => return fail(1, &format!("refused: {refusal}")),
        Reply::Paths(_) => return fail(5, "the server answered another question"),
    };
    // The path stands whether or not anybody reads about it; the exit code is for those who do.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(5, &format!("cannot print the outcome: {error}")),
    }
}

fn fail(code: u8, reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "oclient: {reason}");
    ExitCode::from(code)
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
