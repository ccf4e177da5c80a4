//! Reading what the client printed. Pure, and everything here is hostile input: whatever is not exactly what
//! the client's manual says means that nobody knows what happened.

use std::net::IpAddr;

use crate::client::Run;

/// Exit codes of the client.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const WRONG_USAGE: i32 = 2;
const NOT_REACHED: i32 = 3;
const NO_SUCH_PATH: i32 = 4;

/// Longest text of the client that is shown to a person, in characters.
const LONGEST_WORDS: usize = 200;

/// A time that the server says longer than this was none.
const LONGEST_SECONDS: f64 = 86_400.0;

/// What the client was asked to set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) a: IpAddr,
    pub(crate) z: IpAddr,
    pub(crate) lambda: u16,
    /// True if it was asked for later: then it may be booked instead of up.
    pub(crate) is_deferred: bool,
}

/// What became of a request to set up a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Created {
    /// The path carries traffic.
    Up(Path),
    /// The server said no and changed nothing.
    Refused(Refusal),
    /// The server was not asked.
    Unavailable(String),
    /// The path may exist.
    Unknown(String),
}

/// What became of a request to tear a path down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TornDown {
    /// The path is gone, or never was; and how long that took, in seconds, if the server said so.
    Gone(Option<f64>),
    /// The server said no and changed nothing.
    Refused(Refusal),
    /// The server was not asked.
    Unavailable(String),
    /// The path may still exist.
    Unknown(String),
}

/// A path that was set up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    /// ODIN's id: a decimal number.
    pub(crate) id: String,
    /// The switches on its way, if they were printed.
    pub(crate) switches: Option<String>,
    /// True if it does not carry traffic yet.
    pub(crate) is_booked: bool,
    /// How long the server said that it took, if it did.
    pub(crate) took: Option<f64>,
}

/// The server's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The reason's name, such as `lambda-busy`.
    pub(crate) reason: String,
    /// The server's words, the name included.
    pub(crate) words: String,
}

impl Refusal {
    /// The lambda carries another path.
    pub(crate) fn is_lambda_busy(&self) -> bool {
        self.reason == "lambda-busy"
    }

    /// The path that joins the two already, if that is the reason.
    pub(crate) fn connected_path(&self) -> Option<String> {
        let sentence = self.words.strip_prefix("pair-connected: path ")?;
        path_id(sentence.split(' ').next()?)
    }
}

/// Reads a run of `oclient -c`.
pub(crate) fn created(run: &Run, asked: Asked) -> Created {
    let (code, stdout, stderr) = match run {
        Run::NotStarted(reason) => return Created::Unavailable(reason.clone()),
        Run::Lost(reason) => return Created::Unknown(reason.clone()),
        Run::Exited { code, stdout, stderr } => (*code, stdout, stderr),
    };
    match code {
        DONE => path_up(stdout, asked).map_or_else(Created::Unknown, Created::Up),
        REFUSED if stdout.is_empty() => refusal(stderr).map_or_else(Created::Unknown, Created::Refused),
        WRONG_USAGE | NOT_REACHED if stdout.is_empty() => Created::Unavailable(complaint(code, stderr)),
        _ => Created::Unknown(complaint(code, stderr)),
    }
}

/// Reads a run of `oclient -t`.
pub(crate) fn torn_down(run: &Run, path: &str) -> TornDown {
    let (code, stdout, stderr) = match run {
        Run::NotStarted(reason) => return TornDown::Unavailable(reason.clone()),
        Run::Lost(reason) => return TornDown::Unknown(reason.clone()),
        Run::Exited { code, stdout, stderr } => (*code, stdout, stderr),
    };
    match code {
        DONE => path_down(stdout, path).map_or_else(TornDown::Unknown, TornDown::Gone),
        REFUSED if stdout.is_empty() => refusal(stderr).map_or_else(TornDown::Unknown, TornDown::Refused),
        WRONG_USAGE | NOT_REACHED if stdout.is_empty() => TornDown::Unavailable(complaint(code, stderr)),
        NO_SUCH_PATH if refusal(stderr).is_ok_and(|refusal| refusal.reason == "no-such-path") => {
            TornDown::Gone(None)
        }
        _ => TornDown::Unknown(complaint(code, stderr)),
    }
}

fn path_up(stdout: &[u8], asked: Asked) -> Result<Path, String> {
    let text = text(stdout)?;
    let (id, state) = path_line(text)?;
    let is_booked = match state {
        "up" => false,
        "booked" if asked.is_deferred => true,
        _ => return Err(format!("the client printed an unexpected line: path {id} {}", words(state))),
    };
    let expected = [
        ("source", asked.a.to_string()),
        ("destination", asked.z.to_string()),
        ("lambda", asked.lambda.to_string()),
    ];
    for (word, expected) in expected {
        match value(text, word)? {
            Some(printed) if printed != expected => {
                return Err(format!(
                    "the client was asked for {word} {expected} and printed {}",
                    words(printed)
                ));
            }
            _ => {}
        }
    }
    let switches = value(text, "switches")?.map(words).filter(|switches| !switches.is_empty());
    let took = seconds(text, "software-seconds").zip(seconds(text, "hardware-seconds"));
    Ok(Path { id, switches, is_booked, took: took.map(|(software, hardware)| software + hardware) })
}

fn path_down(stdout: &[u8], path: &str) -> Result<Option<f64>, String> {
    let text = text(stdout)?;
    match path_line(text)? {
        (id, "down") if id == path => Ok(seconds(text, "hardware-seconds")),
        (id, "down") => Err(format!("the client tore down path {id} instead of {path}")),
        (id, state) => Err(format!("the client printed an unexpected line: path {id} {}", words(state))),
    }
}

/// Id and state of the one line `path <id> <state>`. A line that ends with the output may have been cut off.
fn path_line(text: &str) -> Result<(String, &str), String> {
    let printed = value(text, "path")?.ok_or("the client printed no path id")?;
    if !text.ends_with('\n') {
        return Err("the client's last line has no end".to_owned());
    }
    let line = printed.split_once(' ').and_then(|(id, state)| Some((path_id(id)?, state)));
    line.ok_or_else(|| format!("the client printed an unexpected line: path {}", words(printed)))
}

/// A time that the server took. It serves planning only: what cannot be read is as if it were not there.
fn seconds(text: &str, word: &str) -> Option<f64> {
    let seconds = value(text, word).ok()??.parse().ok()?;
    (0.0..=LONGEST_SECONDS).contains(&seconds).then_some(seconds)
}

/// What follows `word` on its line. More than one such line is an error, whether or not they agree.
fn value<'a>(text: &'a str, word: &str) -> Result<Option<&'a str>, String> {
    let mut values = text.lines().filter_map(|line| match line.split_once(' ') {
        Some((first, rest)) => (first == word).then_some(rest),
        None => (line == word).then_some(""),
    });
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(format!("the client printed more than one {word}")),
    }
}

/// A path id as the server counts them: it is handed to the client as an argument later, so nothing else passes.
pub(crate) fn path_id(text: &str) -> Option<String> {
    let is_number = (1..=19).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| text.to_owned())
}

/// The one line `oclient: refused: <reason>: <sentence>`.
fn refusal(stderr: &[u8]) -> Result<Refusal, String> {
    let mut lines = text(stderr)?.lines().filter_map(|line| line.strip_prefix("oclient: refused: "));
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let (reason, _) = line.split_once(": ").ok_or("the client gave no reason for its refusal")?;
            Ok(Refusal { reason: words(reason), words: words(line) })
        }
        _ => Err(format!("the client failed without a reason: {}", complaint(REFUSED, stderr))),
    }
}

pub(crate) fn complaint(code: i32, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => words(line),
        None => format!("the client ended with exit code {code} and said nothing"),
    }
}

pub(crate) fn text(output: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(output).map_err(|_| "the client printed something that is not text".to_owned())
}

/// Text of the client, fit to be shown in one line.
pub(crate) fn words(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    plain.take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRINTED: &str = "path 17 up\nsource 10.10.0.2\ndestination 10.10.0.3\nlambda 3\n\
                           switches chicago evanston\nsoftware-seconds 2.500\nhardware-seconds 15.004\n";

    fn asked() -> Asked {
        Asked { a: [10, 10, 0, 2].into(), z: [10, 10, 0, 3].into(), lambda: 3, is_deferred: false }
    }

    fn exited(code: i32, stdout: &[u8], stderr: &[u8]) -> Run {
        Run::Exited { code, stdout: stdout.to_vec(), stderr: stderr.to_vec() }
    }

    #[test]
    fn the_manuals_output_is_read() {
        let path = Path {
            id: "17".into(),
            switches: Some("chicago evanston".into()),
            is_booked: false,
            took: Some(2.5 + 15.004),
        };
        assert_eq!(created(&exited(0, PRINTED.as_bytes(), b""), asked()), Created::Up(path));
        let bare = Path { id: "17".into(), switches: None, is_booked: false, took: None };
        assert_eq!(created(&exited(0, b"path 17 up\n", b"a warning"), asked()), Created::Up(bare.clone()));
        let odd = b"path 17 up\nsoftware-seconds soon\nhardware-seconds 1\nhardware-seconds 2\n";
        assert_eq!(created(&exited(0, odd, b""), asked()), Created::Up(bare.clone()), "times are no news");
        let later = Asked { is_deferred: true, ..asked() };
        let booked = Path { is_booked: true, ..bare };
        assert_eq!(created(&exited(0, b"path 17 booked\n", b""), later), Created::Up(booked));
        let down = exited(0, b"path 17 down\nhardware-seconds 12.000\n", b"");
        assert_eq!(torn_down(&down, "17"), TornDown::Gone(Some(12.0)));
        let unknown = exited(4, b"", b"oclient: refused: no-such-path: there is no path 17\n");
        assert_eq!(torn_down(&unknown, "17"), TornDown::Gone(None));
    }

    #[test]
    fn refusals_carry_the_servers_words() {
        let busy = b"oclient: refused: lambda-busy: lambda 1 carries path 3 between x and y\n";
        let Created::Refused(refusal) = created(&exited(1, b"", busy), asked()) else {
            panic!("not refused")
        };
        assert!(refusal.is_lambda_busy());
        assert_eq!(refusal.words, "lambda-busy: lambda 1 carries path 3 between x and y");
        assert_eq!(refusal.connected_path(), None);
        let connected = b"oclient: refused: pair-connected: path 9 joins these two\n";
        let Created::Refused(refusal) = created(&exited(1, b"", connected), asked()) else {
            panic!("not refused")
        };
        assert_eq!(refusal.connected_path().as_deref(), Some("9"));
        let unreached = exited(3, b"", b"oclient: cannot reach the server at /s: gone\n");
        assert_eq!(
            created(&unreached, asked()),
            Created::Unavailable("oclient: cannot reach the server at /s: gone".into())
        );
    }

    #[test]
    fn everything_else_leaves_the_outcome_unknown() {
        let runs: &[(i32, &[u8], &[u8])] = &[
            (0, b"", b""),
            (0, b"\n\n\n", b""),
            (0, b"ok", b""),
            (0, b"\xff\xfepath 17 up\n", b""),
            (0, b"path up\n", b""),
            (0, b"path\n", b""),
            (0, b"path 17\n", b""),
            (0, b"path 17 down\n", b""),
            (0, b"path 17 booked\n", b""),
            (0, b"path 1", b""),
            (0, b"path 17 up", b""),
            (0, b"path 17 up\nsource 10.1", b""),
            (0, b"path 17\0 up\n", b""),
            (0, b"path -t up\n", b""),
            (0, b"path 17x up\n", b""),
            (0, b"path 99999999999999999999 up\n", b""),
            (0, b"Path 17 up\n", b""),
            (0, b"PATH 17 UP\n", b""),
            (0, b"path  17 up\n", b""),
            (0, b"path 17 up and away\n", b""),
            (0, b"path 17 up\npath 17 up\n", b""),
            (0, b"path 17 up\npath 18 up\n", b""),
            (0, b"path 17 up\npath\n", b""),
            (0, b"path 17 up\nlambda 4\n", b""),
            (0, b"path 17 up\nlambda 3\nlambda 3\n", b""),
            (0, b"path 17 up\nsource 10.10.0.9\n", b""),
            (0, b"path 17 up\ndestination\n", b""),
            (1, b"", b""),
            (1, b"", b"Segmentation fault\n"),
            (1, b"", b"oclient: refused: \n"),
            (1, b"", b"oclient: refused: a: b\noclient: refused: c: d\n"),
            (1, b"path 17 up\n", b"oclient: refused: no-route: none\n"),
            (2, b"path 17 up\n", b"usage\n"),
            (3, b"path 17 up\n", b""),
            (4, b"", b"oclient: refused: no-such-path: there is no path 17\n"),
            (5, b"", b"oclient: no answer from the server\n"),
            (127, b"", b"sh: 1: oclient: not found\n"),
            (-1, b"path 17 up\n", b""),
        ];
        for (code, stdout, stderr) in runs {
            let answer = created(&exited(*code, stdout, stderr), asked());
            let shown = (code, String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
            assert!(matches!(answer, Created::Unknown(_)), "{shown:?} gave {answer:?}");
        }
        for (code, stdout, stderr) in [
            (0, &b"path 18 down\n"[..], &b""[..]),
            (0, b"path 17 up\n", b""),
            (0, b"", b""),
            (4, b"", b"no such file\n"),
            (5, b"", b""),
        ] {
            let answer = torn_down(&exited(code, stdout, stderr), "17");
            assert!(matches!(answer, TornDown::Unknown(_)), "{code} gave {answer:?}");
        }
        assert!(matches!(created(&Run::Lost("killed".into()), asked()), Created::Unknown(_)));
    }

    #[test]
    fn what_a_person_is_shown_is_one_short_line() {
        let noise = format!("\x1b[31m{}\nsecond line", "x".repeat(5000));
        let Created::Unknown(reason) = created(&exited(77, b"", noise.as_bytes()), asked()) else { panic!() };
        assert!(reason.chars().count() <= LONGEST_WORDS && !reason.contains(char::is_control), "{reason:?}");
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[a-z]{0,9} ?[a-z0-9 .-]{0,12}",
            "path [0-9]{0,21} (up|down|Up)?",
            "(source|destination|lambda|switches) [0-9.]{0,9}",
            "oclient: refused: [a-z-]{0,12}:? ?[a-z0-9 ]{0,20}",
        ];
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(line, 0..6).prop_map(|lines| (lines.join("\n") + "\n").into_bytes()),
        ]
    }

    proptest! {
        /// An id that could not have come from the server never reaches the client's command line, and a path
        /// is believed in only on the client's word of success.
        #[test]
        fn no_output_panics_or_invents_a_path(code in -2..7, stdout in output(), stderr in output()) {
            let run = exited(code, &stdout, &stderr);
            if let Created::Up(path) = created(&run, asked()) {
                prop_assert_eq!(code, 0);
                prop_assert!(path.id.bytes().all(|digit| digit.is_ascii_digit()) && !path.id.is_empty());
            }
            if matches!(torn_down(&run, "17"), TornDown::Gone(_)) {
                prop_assert!(code == 0 || code == 4);
            }
        }
    }
}
