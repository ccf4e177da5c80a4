//! Wrong configurations start nothing and say what is wrong where; broken plugins that are not required are named.
//! Needs no root: one process at loopback addresses, without guests.
//!
//! ```text
//!  hub.toml ─▶ vreserve check | run ─▶ file:line:column: sentence; suggestion     exit code 2
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use vreserve::api::{Request, client};
use vreserve_tests::{Keys, directory, fixture, program, wait};

const TAP: &str = "vrbadcfg0";

/// A proxy's configuration in a directory of its own.
struct Site {
    dir: TempDir,
    text: String,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        Keys::generate(path("hub.key"));
        fs::create_dir(path("plugins")).unwrap();
        let text = format!(
            "[node]\nname = \"hub\"\nrole = \"proxy\"\nkey = {:?}\nstate_dir = {:?}\nsocket = {:?}\n\
             control = \"127.0.0.1:0\"\nadmit = []\n\n\
             [plugins]\ndirs = [{:?}, {:?}]\n\n\
             [link.internet]\nuse = \"link-udp\"\nformat = \"vxlan\"\nbind = \"127.0.0.1:0\"\n\n\
             [infer.vttif]\nuse = \"infer-vttif\"\nreport_interval = \"500ms\"\n",
            path("hub.key"),
            path("state"),
            path("hub.sock"),
            directory(),
            path("plugins"),
        );
        Self { dir, text }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration with `more` behind it.
    fn write(&self, more: &str) -> PathBuf {
        self.write_text(&format!("{}\n{more}", self.text))
    }

    fn write_text(&self, text: &str) -> PathBuf {
        fs::write(self.path("hub.toml"), text).unwrap();
        self.path("hub.toml")
    }

    fn run(&self, word: &str, config: &Path) -> Output {
        Command::new(program("vreserve")).args([word, "--config"]).arg(config).output().unwrap()
    }

    /// Asserts that both `check` and `run` refuse it with this place and these words, and start nothing.
    fn assert_refused(&self, config: &Path, place: &str, words: &[&str]) {
        for word in ["check", "run"] {
            let output = self.run(word, config);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{word}: {said}");
            let wanted = format!("{}{place}", config.display());
            let line = said.lines().find(|line| line.starts_with(&wanted));
            let line = line.unwrap_or_else(|| panic!("{word}: no line begins with {wanted}:\n{said}"));
            assert!(words.iter().all(|word| line.contains(word)), "{word}: {line:?} lacks one of {words:?}");
            assert!(
                !self.path("hub.sock").exists() && !self.path("state").exists(),
                "{word}: something started"
            );
            assert!(!Path::new("/sys/class/net").join(TAP).exists(), "{word}: a TAP was made");
        }
    }

    /// The number of the line that has `text`, from 1.
    fn line_of(text: &str, part: &str) -> usize {
        1 + text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no line has {part}"))
    }

    /// Runs the daemon with `more` in its configuration until it answers.
    fn start(&self, more: &str) -> Running {
        let log = fs::File::create(self.path("log")).unwrap();
        let config = self.write(more);
        let mut command = Command::new(program("vreserve"));
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        wait::until_true("the daemon answers", Duration::from_secs(10), || {
            let log = || fs::read_to_string(self.path("log")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "the daemon has ended:\n{}", log());
            client::ask(&self.path("hub.sock"), &Request::Status).is_ok()
        });
        Running { child, socket: self.path("hub.sock") }
    }
}

struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    /// Why an instance does not run, as `vreserve status --json` tells it.
    fn reason(&self, kind: &str) -> String {
        let mut status = Command::new(program("vreserve"));
        let output = status.args(["status", "--json", "--socket"]).arg(&self.socket).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let plugins = status["plugins"].as_array().unwrap();
        let plugin = plugins.iter().find(|plugin| plugin["kind"] == kind).unwrap();
        plugin["state"]["failed"].as_str().unwrap_or_else(|| panic!("{plugin} has not failed")).to_owned()
    }
}

impl Running {
    /// Asks the daemon to end, and waits until it has.
    fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).unwrap();
        wait::until("the daemon ends", Duration::from_secs(20), || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_right_configuration_passes_the_check_and_starts_nothing() {
    let site = Site::new();
    let output = site.run("check", &site.write(""));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!site.path("hub.sock").exists() && !site.path("state").exists());
}

#[test]
fn each_mistake_is_refused_with_its_place_and_a_suggestion() {
    let site = Site::new();
    // What is replaced, by what, the column, what is said.
    let cases: [(&str, &str, usize, &[&str]); 8] = [
        ("name = \"hub\"", "name = \"hub", 0, &[]),
        ("role = \"proxy\"", "rool = \"proxy\"", 1, &["unknown key", "did you mean \"role\"?"]),
        ("role = \"proxy\"", "role = \"prxoy\"", 1, &["not a role", "did you mean \"proxy\"?"]),
        ("admit = []", "admit = 7", 1, &["admit", "expected"]),
        ("[infer.vttif]", "[infr.vttif]", 2, &["unknown table", "did you mean \"infer\"?"]),
        ("report_interval = \"500ms\"", "report_interval = \"5 hundred\"", 1, &["not a duration", "500ms"]),
        (
            "use = \"infer-vttif\"",
            "use = \"infer-vttf\"",
            1,
            &["infer-vttf", "did you mean \"infer-vttif\"?"],
        ),
        (
            "format = \"vxlan\"",
            "formt = \"vxlan\"",
            1,
            &["[link.internet]", "formt", "did you mean \"format\"?"],
        ),
    ];
    for (from, to, column, words) in cases {
        let text = site.text.replacen(from, to, 1);
        assert_ne!(text, site.text, "{from} is in the configuration");
        let line = Site::line_of(&text, to);
        // Where the reader of TOML stops within a line is its own affair.
        let place = if column == 0 { format!(":{line}:") } else { format!(":{line}:{column}: ") };
        site.assert_refused(&site.write_text(&text), &place, words);
    }
}

#[test]
fn what_plugins_say_of_their_keys_has_its_place_too_and_nothing_is_opened() {
    let site = Site::new();
    let capture = format!("[capture.guests]\nuse = \"capture-iouring\"\ninterface = {TAP:?}\nmtu = 1\n");
    let config = site.write(&capture);
    let line = Site::line_of(&fs::read_to_string(&config).unwrap(), "mtu");
    site.assert_refused(&config, &format!(":{line}:1: "), &["[capture.guests] mtu"]);

    // Beside a capture that is right, a wrong link must keep the TAP from being made.
    let right = capture.replace("mtu = 1\n", "");
    let text = format!("{}{right}", site.text.replace("bind = \"127.0.0.1:0\"", "bind = \"localhost\""));
    let line = Site::line_of(&text, "bind = \"localhost\"");
    site.assert_refused(&site.write_text(&text), &format!(":{line}:"), &["[link.internet]", "bind"]);
}

#[test]
fn an_unreadable_configuration_is_named() {
    let site = Site::new();
    site.assert_refused(&site.path("missing.toml"), ":", &["cannot be read", "No such file"]);
    site.assert_refused(site.dir.path(), ":", &["cannot be read"]);
    fs::write(site.path("hub.toml"), [0xff, 0xfe, 0x00]).unwrap();
    site.assert_refused(&site.path("hub.toml"), ":", &[]);
}

#[test]
fn a_required_plugin_that_is_none_is_refused_by_name() {
    let site = Site::new();
    put(&site, "adapt-fake", b"not a shared object");
    let config = site.write("[adapt.fake]\nuse = \"adapt-fake\"\n");
    let line = Site::line_of(&fs::read_to_string(&config).unwrap(), "use = \"adapt-fake\"");
    site.assert_refused(&config, &format!(":{line}:1: "), &["adapt-fake", "not a shared object"]);
}

#[test]
fn broken_plugins_that_are_not_required_are_named_in_one_line_and_the_rest_runs() {
    let odin = fs::read(program("libvreserve_reserve_odin.so")).unwrap();
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("reserve-odin-none", b"not a shared object".to_vec(), &["not a shared object"]),
        ("reserve-odin-cut", odin[..odin.len() / 2].to_vec(), &["reserve-odin-cut.so"]),
        ("reserve-odin", with_abi(&odin, "0.9.0"), &["too old", "0.9.0"]),
        ("reserve-odin", with_abi(&odin, "9.0.0"), &["too new", "9.0.0"]),
        ("reserve-nowhere", Vec::new(), &["reserve-nowhere", "none of the plugin directories"]),
    ];
    for (plugin, bytes, words) in cases {
        let mut site = Site::new();
        // Its own directory comes first, before that of the whole plugins.
        let (built, own) = (format!("{:?}", directory()), format!("{:?}", site.path("plugins")));
        site.text = site.text.replace(&format!("[{built}, {own}]"), &format!("[{own}, {built}]"));
        if !bytes.is_empty() {
            put(&site, plugin, &bytes);
        }
        let table = format!("[reserve.x]\nuse = {plugin:?}\nnetwork = \"omninet\"\nrequired = false\n");
        let running = site.start(&table);
        let reason = running.reason("reserve");
        assert!(words.iter().all(|word| reason.contains(word)), "{reason:?} lacks one of {words:?}");
        assert_eq!(reason.lines().count(), 1, "{reason:?}");
    }
}

#[test]
fn a_plugin_that_panics_at_its_start_is_named_and_the_rest_runs() {
    let site = Site::new();
    put(&site, "misfits", &fs::read(fixture("misfits")).unwrap());
    let running = site.start("[adapt.x]\nuse = \"misfits\"\nrequired = false\n");
    let reason = running.reason("adapt");
    assert!(reason.contains("panic") && reason.contains("no planner today"), "{reason:?}");
    assert_eq!(reason.lines().count(), 1, "{reason:?}");
}

#[test]
fn a_plugin_that_waits_in_a_call_is_interrupted_and_tried_again_and_the_node_goes_on() {
    let site = Site::new();
    put(&site, "misfits", &fs::read(fixture("misfits")).unwrap());
    let mut running = site.start("[link.x]\nuse = \"misfits\"\nnetwork = \"omninet\"\n");
    let failures = || {
        let lines = client::events(&running.socket, false).unwrap().map_while(Result::ok);
        let events = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
        events.filter(|event| event["event"] == "plugin_failed").collect::<Vec<_>>()
    };
    wait::until_true("it has failed twice", Duration::from_secs(20), || failures().len() > 1);
    let failures = failures();
    assert!(failures.iter().all(|event| event["instance"] == "link.x"), "{failures:?}");
    let delays: Vec<_> = failures.iter().map(|event| event["retry_in_ms"].as_u64().unwrap()).collect();
    assert!(delays[1] > delays[0], "{delays:?}");
    let said = fs::read_to_string(site.path("log")).unwrap();
    assert!(said.lines().any(|line| line.contains("has not returned") && line.contains("link.x")), "{said}");
    // Everything else goes on: the star's endpoint is there, and the node ends when it is told to.
    let status = client::ask(&running.socket, &Request::Status).unwrap();
    let ports = status["ports"].as_array().unwrap();
    assert!(
        ports.iter().any(|port| port["name"] == "link.internet" && port["failure"].is_null()),
        "{ports:?}"
    );
    assert!(running.stop().success());
}

/// Puts a plugin's file into the site's own directory.
fn put(site: &Site, plugin: &str, bytes: &[u8]) {
    let path = site.path("plugins").join(format!("{plugin}.so"));
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// The file of a plugin that was built for another ABI, going by what it says of itself.
fn with_abi(plugin: &[u8], version: &str) -> Vec<u8> {
    let (from, to) = (br#""abi":"1.0.0""#, format!(r#""abi":"{version}""#));
    let at = plugin.windows(from.len()).position(|window| window == from).expect("plugins say their ABI");
    let mut bytes = plugin.to_vec();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    bytes
}
