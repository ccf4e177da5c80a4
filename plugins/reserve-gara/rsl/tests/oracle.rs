//! Whether a text is RSL is decided by the original parser, where it is installed (Debian: libglobus-rsl-dev).
//!
//! Every text is given to both with a newline at its end: the original's scanner loses a quoted word that ends a text
//! without one. A delimiter of the writer's own beyond ASCII is left out: the original cuts characters apart there.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vreserve_rsl::{Binding, Change, NetworkRequest, Protocol};

const TEXTS: usize = 10_000;

/// Texts of which many are right.
fn likely() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z][a-z0-9._:/-]{0,6}",
        "\"([a-z '^]|\"\"){0,4}\"",
        "'([a-z ]|''){0,4}'",
        "\\^\\|([a-z\"]|\\|\\|){0,3}\\|",
        "\\^x[a-w]{0,3}x",
        "[a-z][&|+a-z]{0,3}",
        "[a-zé@%,;{}\\[\\]\\\\`\r]{1,3}",
    ];
    let value = word.clone().prop_recursive(4, 16, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4).prop_map(|values| values.join(" "));
        prop_oneof![
            several.clone().prop_map(|values| format!("({values})")),
            several.prop_map(|values| format!("$({values})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}#{b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} # {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}{b}")),
            inner.prop_map(|a| format!("(* c *){a}(**)")),
        ]
    });
    let operator = prop::sample::select(vec!["=", "!=", ">", ">=", "<", "<=", " = ", "=\n"]);
    let relation = (word, operator, prop::collection::vec(value, 1..4))
        .prop_map(|(name, operator, values)| format!("{name}{operator}{}", values.join(" ")));
    relation.prop_recursive(3, 12, 4, |inner| {
        let combiner = prop::sample::select(vec!["&", "|", "+", "& ", "&(* all *)"]);
        (combiner, prop::collection::vec(inner, 1..4)).prop_map(|(combiner, members)| {
            let members: Vec<String> = members.into_iter().map(|member| format!("({member})")).collect();
            format!("{combiner}{}", members.join(""))
        })
    })
}

/// The same with a character or two taken out, put in or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), prop::sample::select(SPECIAL.to_vec()), 0..3_u8);
    (likely(), prop::collection::vec(edit, 1..3)).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, special, kind) in edits {
            let at = at.index(text.len() + 1);
            match kind {
                0 => text.insert(at, special),
                1 if at < text.len() => {
                    text.remove(at);
                }
                _ if at < text.len() => text.insert(at, text[at]),
                _ => {}
            }
        }
        text.into_iter().collect()
    })
}

const SPECIAL: [char; 22] = [
    '&', '|', '+', '(', ')', '=', '<', '>', '!', '#', '$', '^', '"', '\'', '*', '~', '?', ' ', '\t', '\n',
    'a', 'b',
];

fn random() -> impl Strategy<Value = String> {
    let special = prop::collection::vec(prop::sample::select(SPECIAL.to_vec()), 0..24);
    prop_oneof![
        special.prop_map(|chars| chars.into_iter().collect()),
        "[ -~]{0,20}",
        prop::collection::vec(1..255_u8, 0..20)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

/// What our own writer makes of requests like those of the plugin.
fn ours() -> Vec<String> {
    let mut texts = Vec::new();
    for label in ["key", "9f8c2e1a-7b", "two words", "it's \"quoted\" (* no comment *)", "^|~#$(X)"] {
        let request = NetworkRequest {
            start_ms: Some(1_700_000_000_250),
            duration: Some(Duration::from_millis(3_600_500)),
            endpoint_a: [198, 51, 100, 2].into(),
            endpoint_b: [198, 51, 100, 3].into(),
            kbps: 60_000,
            protocol: Some(Protocol::Udp),
            label: Some(label.to_owned()),
        };
        texts.push(request.to_spec().to_string());
        texts.push(NetworkRequest { start_ms: None, duration: None, ..request }.to_spec().to_string());
    }
    let change = Change { start_ms: None, duration: Some(Duration::from_secs(60)), kbps: Some(1) };
    texts.push(change.to_spec().to_string());
    let binding = Binding { port_a: Some(4790), port_b: Some(4790), protocol: Some(Protocol::Udp) };
    texts.push(binding.to_spec().to_string());
    texts
}

fn skip(reason: &str) {
    // Written to the stream itself: the runner captures only what the print macros write.
    let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with the original RSL parser: {reason}");
}

/// Builds the program that asks the original; `None` if that is not installed.
fn oracle(directory: &Path) -> Option<Command> {
    let known =
        Command::new("pkg-config").args(["--cflags", "--libs", "globus-rsl", "globus-common"]).output();
    let flags = match known {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => "-I/usr/include/globus -lglobus_rsl -lglobus_common".to_owned(),
    };
    let program = directory.join("oracle");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/oracle.c");
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(source).args(flags.split_whitespace());
    let built = compiler.output().ok().filter(|output| output.status.success());
    built.map(|_| Command::new(program))
}

/// The original's answers, line by line.
fn answers(mut oracle: Command, texts: &[String]) -> Vec<String> {
    let mut child =
        oracle.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut questions = child.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| format!("{}\n", hexadecimal(text))).collect();
    let asking = std::thread::spawn(move || questions.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    asking.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(hexadecimal: &str) -> String {
    let digits = hexadecimal.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap() + "\n"
}

#[test]
fn the_original_accepts_and_rejects_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(oracle) = oracle(directory.path()) else {
        return skip("libglobus-rsl-dev or a C compiler is not installed");
    };
    let mut runner = TestRunner::deterministic();
    let mut texts = ours();
    let (own, strategies) =
        (texts.len(), [likely().boxed(), likely().boxed(), mutated().boxed(), random().boxed()]);
    while texts.len() < own + TEXTS {
        let text = strategies[texts.len() % 4].new_tree(&mut runner).unwrap().current();
        let cuts = text.split('^').skip(1).any(|rest| rest.starts_with(|c: char| !c.is_ascii()));
        if !cuts && !text.contains('\0') {
            texts.push(text);
        }
    }
    texts.iter_mut().for_each(|text| text.push('\n'));
    let answers = answers(oracle, &texts);
    assert_eq!(answers.len(), texts.len());
    let mut accepted = 0;
    for (nth, (text, answer)) in texts.iter().zip(&answers).enumerate() {
        let ours = vreserve_rsl::parse(text);
        assert_ne!(answer, "died", "{text:?}");
        assert_eq!(ours.is_ok(), answer.starts_with("accepted"), "{text:?}: {ours:?}");
        assert!(ours.is_ok() || nth >= own, "our own {text:?}: {ours:?}");
        accepted += usize::from(ours.is_ok());
        // What the original writes of a reference is not whole, or nothing.
        let written = answer.strip_prefix("accepted ").map(text_of).unwrap_or_default();
        if !written.trim().is_empty() && !written.contains('$') {
            assert_eq!(ours, vreserve_rsl::parse(&written), "{text:?} is {written:?} to the original");
        }
    }
    assert!((TEXTS / 5..TEXTS * 4 / 5).contains(&accepted), "{accepted} accepted: a lopsided sample");
}
