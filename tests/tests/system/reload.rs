//! A running node reads its configuration again: it follows it or changes nothing. Needs no root: one process at
//! loopback addresses, without guests.
//!
//! ```text
//!  hub.toml ─▶ edited ─▶ vreserve reload, or SIGHUP ─▶ what changed; or file:line:column: sentence, exit code 2
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use vreserve::api::{Request, client};
use vreserve_tests::{Keys, directory, program, reload, wait};

const SOON: Duration = Duration::from_secs(10);

/// A running proxy and its file.
struct Hub {
    dir: TempDir,
    text: String,
    child: Child,
}

impl Hub {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        Keys::generate(path("hub.key"));
        let text = format!(
            "[node]\nname = \"hub\"\nrole = \"proxy\"\nkey = {:?}\nstate_dir = {:?}\nsocket = {:?}\n\
             control = \"127.0.0.1:0\"\nadmit = []\n\n[plugins]\ndirs = [{:?}]\n\n\
             [link.internet]\nuse = \"link-udp\"\nformat = \"vxlan\"\nbind = \"127.0.0.1:0\"\n\n\
             [infer.vttif]\nuse = \"infer-vttif\"\nreport_interval = \"100ms\"\n\n\
             [adapt.vadapt]\nuse = \"adapt-vadapt\"\nmax_links = 4\n\n",
            path("hub.key"),
            path("state"),
            path("hub.sock"),
            directory(),
        );
        fs::write(path("hub.toml"), &text).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let mut command = Command::new(program("vreserve"));
        command.args(["run", "--config"]).arg(path("hub.toml"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let hub = Self { dir, text, child };
        wait::until_true("the daemon answers", SOON, || {
            client::ask(&hub.path("hub.sock"), &Request::Status).is_ok()
        });
        hub
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("hub.toml"), text).unwrap();
    }

    fn reload(&self) -> (i32, String) {
        reload(&self.path("hub.toml"))
    }

    fn config_status(&self) -> Value {
        client::ask(&self.path("hub.sock"), &Request::Status).unwrap()["config"].take()
    }

    fn state_of(&self, kind: &str) -> Option<Value> {
        let status = client::ask(&self.path("hub.sock"), &Request::Status).unwrap();
        let plugins = status["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["kind"] == kind).map(|plugin| plugin["state"].clone())
    }

    fn events(&self, name: &str) -> usize {
        let socket = self.path("hub.sock");
        let lines = client::events(&socket, false).unwrap().map_while(Result::ok);
        lines.filter(|line| line.contains(&format!("\"{name}\""))).count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The number of the line that has `part`, from 1.
    fn line_of(text: &str, part: &str) -> usize {
        1 + text.lines().position(|line| line.contains(part)).unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_broken_file_changes_nothing_and_names_the_line_to_the_caller_in_the_log_and_in_the_status() {
    let hub = Hub::start();
    let before = hub.config_status();
    assert_eq!(before["last_error"], Value::Null);
    let broken = hub.text.replace("max_links = 4", "max_lynx = 5");
    hub.write(&broken);
    let (code, said) = hub.reload();
    let place = format!("hub.toml:{}:1: [adapt.vadapt] max_lynx", Hub::line_of(&broken, "max_lynx"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&place) && said.contains("unknown key"), "{said}");
    assert!(hub.log().contains(&place), "{}", hub.log());
    let after = hub.config_status();
    assert!(after["last_error"].as_str().unwrap().contains(&place), "{after}");
    assert_eq!(after["loaded_ms"], before["loaded_ms"]);
    assert_eq!(hub.state_of("adapt").unwrap(), "started", "what runs is not shown as what was tried");
    assert_eq!(hub.events("reload_refused"), 1);

    hub.write(&hub.text.replace("[infer.vttif]", "[infer.vttif"));
    let (code, said) = hub.reload();
    assert_eq!(code, 2, "{said}");
    assert!(
        hub.config_status()["last_error"].as_str().unwrap().contains(said.trim()),
        "from the daemon: {said}"
    );

    hub.write(&hub.text);
    assert_eq!(hub.reload(), (0, "nothing has changed\n".to_owned()));
    assert_eq!(hub.config_status()["last_error"], Value::Null);
}

#[test]
fn what_cannot_change_is_named_and_keeps_what_can_from_changing() {
    let hub = Hub::start();
    hub.write(
        &hub.text
            .replace("max_links = 4", "max_links = 5")
            .replace("127.0.0.1:0\"\n\n[infer", "127.0.0.2:0\"\n\n[infer"),
    );
    let (code, said) = hub.reload();
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("[link.internet] bind: cannot change while the node is running; restart the node"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // Had the planner been changed, this would be no change.
    hub.write(&hub.text.replace("max_links = 4", "max_links = 5"));
    assert_eq!(hub.reload(), (0, "[adapt.vadapt] opened anew\n".to_owned()));
}

#[test]
fn a_backend_that_is_not_well_is_not_taken_and_one_that_is_comes_and_goes() {
    let hub = Hub::start();
    let table = |client: &str, more: &str| {
        format!(
            "{}[reserve.omninet]\nuse = \"reserve-odin\"\nnetwork = \"omninet\"\nclient = {client:?}\n{more}",
            hub.text
        )
    };
    let missing = table("/nowhere/oclient", "");
    hub.write(&missing);
    let (code, said) = hub.reload();
    assert_eq!(code, 2, "{said}");
    let place = format!("hub.toml:{}:1: [reserve.omninet]", Hub::line_of(&missing, "[reserve.omninet]"));
    assert!(said.contains(&place), "{said}");
    assert_eq!(hub.state_of("reserve"), None);

    hub.write(&table("/bin/true", ""));
    assert_eq!(hub.reload(), (0, "[reserve.omninet] opened for omninet\n".to_owned()));
    assert_eq!(hub.state_of("reserve").unwrap(), "started");
    hub.write(&table("/bin/true", "lambdas = 2\n"));
    assert_eq!(hub.reload(), (0, "[reserve.omninet] opened anew for omninet\n".to_owned()));
    hub.write(&hub.text);
    assert_eq!(hub.reload(), (0, "no backend for omninet any more\n".to_owned()));
    assert_eq!(hub.state_of("reserve"), None);
}

#[test]
fn sighup_reloads() {
    let hub = Hub::start();
    hub.write(&format!("{}[lead]\nretry_min = \"1s\"\n", hub.text));
    kill(Pid::from_raw(i32::try_from(hub.child.id()).unwrap()), Signal::SIGHUP).unwrap();
    wait::until_true("the configuration is reloaded", SOON, || hub.events("configuration_reloaded") == 1);
}

#[test]
fn a_reload_while_another_is_under_way_is_refused_and_the_first_one_counts() {
    let hub = Hub::start();
    let (client, asked, go) = (hub.path("client"), hub.path("asked"), hub.path("go"));
    let script = format!("#!/bin/sh\n: > {asked:?}\nwhile [ ! -e {go:?} ]; do sleep 0.02; done\n");
    fs::write(&client, script).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    hub.write(&format!(
        "{}[reserve.omninet]\nuse = \"reserve-odin\"\nnetwork = \"omninet\"\nclient = {client:?}\n",
        hub.text
    ));
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| hub.reload());
        wait::until_true("the new backend is asked how it is", SOON, || asked.exists());
        let second = hub.reload();
        fs::write(&go, "").unwrap();
        (first.join().unwrap(), second)
    });
    assert_eq!(second.0, 2, "{}", second.1);
    assert!(second.1.contains("another reload is under way"), "{}", second.1);
    assert_eq!(first, (0, "[reserve.omninet] opened for omninet\n".to_owned()));
    assert_eq!(hub.config_status()["last_error"], Value::Null);
}

#[test]
fn planners_are_swapped_by_a_table_and_asked_what_they_would_do() {
    let hub = Hub::start();
    let other = "[adapt.watermark]\nuse = \"adapt-watermark\"\nstar_rate = \"50mbit\"";
    hub.write(&hub.text.replace("[adapt.vadapt]\nuse = \"adapt-vadapt\"\nmax_links = 4", other));
    let (code, said) = hub.reload();
    assert_eq!(code, 0, "{said}");
    let status = client::ask(&hub.path("hub.sock"), &Request::Status).unwrap();
    let plugins = status["plugins"].as_array().unwrap();
    let planner = plugins.iter().find(|plugin| plugin["plugin"] == "adapt-watermark").unwrap();
    assert_eq!(planner["state"], "started", "{status:#}");
    let what_if = |matrix: &str| {
        fs::write(hub.path("matrix.toml"), matrix).unwrap();
        let mut plan = Command::new(program("vreserve"));
        plan.args(["plan", "--what-if"])
            .arg(hub.path("matrix.toml"))
            .arg("--socket")
            .arg(hub.path("hub.sock"));
        let output = plan.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, reason) = what_if("demands = []\n");
    assert_eq!(code, Some(0), "{reason}");
    assert!(said.starts_with("nothing would change\n"), "{said}");
    assert!(said.contains("note: last period: no star link was over the high watermark"), "{said}");
    let unknown = "[[demands]]\nsource = \"hub\"\ndestination = \"nowhere\"\nrate = \"1mbit\"\n";
    let (code, _, reason) = what_if(unknown);
    assert_eq!((code, reason.as_str()), (Some(1), "vreserve: demand 1: no node is called nowhere\n"));
}
