//! Plugins and hosts of other times: what was built against the frozen ABI 1.0.0 (`tests/abi-compat`) in today's host,
//! beside today's plugins in one process, and today's plugins in a host of 1.0. Needs no root, but for a TAP.
//!
//! ```text
//!  guest a ── capture-1-0 ─ slots ─ link-1-0 ══ UDP ══ link-udp ─ slots ─ capture-1-0 ── guest b
//!             1.0           today   1.0                today              1.0
//! ```

mod calls;
mod host;
mod old_host;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vreserve::config::Instance;
use vreserve::loader::Metadata;
use vreserve::plugin::{InstanceError, PluginKind};
use vreserve_model::MacAddr;

use host::{FAR, Host, instance, shared_object};

const PATIENCE: Duration = Duration::from_secs(10);
/// Frames on their way at once: a Unix socket may have room for 10.
const FRAMES: usize = 8;
/// Plugin, kind and configuration of what is frozen.
const FROZEN: [(&str, PluginKind, &str); 5] = [
    ("capture-1-0", PluginKind::Capture, r#"{"node":"/nonexistent/n","guest":"/nonexistent/g"}"#),
    ("link-1-0", PluginKind::Link, r#"{"bind":"127.0.0.1:0"}"#),
    ("infer-1-0", PluginKind::Infer, "{}"),
    ("adapt-1-0", PluginKind::Adapt, "{}"),
    ("reserve-1-0", PluginKind::Reserve, r#"{"room":2}"#),
];

/// A frame of no protocol that anybody knows.
fn frame(number: u8) -> Vec<u8> {
    let mut frame = vec![number; 60];
    frame[..6].copy_from_slice(&mac(2).0);
    frame[6..12].copy_from_slice(&mac(1).0);
    frame[12..14].copy_from_slice(&[0x12, 0x34]);
    frame
}

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| frame(number as u8)).collect()
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn send(guest: &UnixDatagram, frames: &[Vec<u8>]) {
    frames.iter().for_each(|frame| assert_eq!(guest.send(frame).unwrap(), frame.len()));
}

fn received(guest: &UnixDatagram, count: usize) -> Vec<Vec<u8>> {
    let next = |_| {
        let mut bytes = vec![0; 2048];
        let len = guest.recv(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    };
    (0..count).map(next).collect()
}

/// The same, as a capture file.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut words = |words: &[u32], bytes: &[u8]| {
        words.iter().for_each(|word| file.extend(word.to_ne_bytes()));
        file.extend(bytes);
    };
    words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1], &[]);
    for frame in frames {
        let len = frame.len() as u32;
        words(&[0, 0, len, len], frame);
    }
    file
}

#[test]
fn what_is_frozen_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("abi-compat/1.0");
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet", "SHA256SUMS"]).current_dir(folder);
    let output = check.output().expect("sha256sum is of the coreutils");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "tests/abi-compat/README.md says what to do instead of editing\n{words}"
    );
    let recorded = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    assert!(
        recorded("abi-compat/1.0/abi/layout-1.0.txt") == recorded("../framework/abi/layout-1.0.txt"),
        "framework/abi/layout-1.0.txt is not as it was recorded: another layout is another version's"
    );
}

#[test]
fn plugins_of_every_kind_from_1_0_load_and_name_their_wrong_keys() {
    let host = Host::start();
    for (plugin, kind, settings) in FROZEN {
        let metadata = Metadata::read(&shared_object(plugin)).unwrap();
        assert_eq!((metadata[0].abi.as_str(), metadata[0].kinds().next()), ("1.0.0", Some(kind)));
        let right = instance(kind, plugin, "old", settings);
        let root = host.registry.load(&right).unwrap_or_else(|error| panic!("{error}")).root;
        assert!(host.registry.validate(&right).is_ok(), "{plugin}");
        let mut coloured: Value = serde_json::from_str(settings).unwrap();
        coloured["colour"] = json!(1);
        let wrong = Instance { settings: coloured.to_string(), ..right };
        let reason = host.registry.validate(&wrong).unwrap_err().to_string();
        assert!(reason.contains("unknown field `colour`"), "{plugin}: {reason}");
        let schema = root.schema();
        let schema: Value = serde_json::from_str(&schema(kind.name().into())).unwrap();
        assert!(schema["properties"].is_object(), "{plugin}: {schema}");
    }
}

#[test]
fn frames_pass_through_old_and_new_plugins_in_turn() {
    let host = Host::start();
    let ((mut a, guest_a), (mut b, guest_b)) = (host.guest("a"), host.guest("b"));
    let mut old = host.link("link-1-0", "old", &json!({ "bind": "127.0.0.1:0" }));
    let mut new = host.link("link-udp", "new", &json!({ "bind": "127.0.0.2:0", "format": "vxlan" }));
    old.add_far(FAR, &new.info().address, None).unwrap();
    new.add_far(FAR, &old.info().address, None).unwrap();
    let sent = frames(FRAMES);

    send(&guest_a, &sent);
    host.carry(&mut a, &mut old, FRAMES);
    host.carry(&mut new, &mut b, FRAMES);
    assert_eq!(received(&guest_b, FRAMES), sent);

    send(&guest_b, &sent);
    host.carry(&mut b, &mut new, FRAMES);
    host.carry(&mut old, &mut a, FRAMES);
    assert_eq!(received(&guest_a, FRAMES), sent);

    let file = host.path("recorded.pcap");
    fs::write(&file, pcap(&sent)).unwrap();
    let recorded = json!({ "kind": "file", "file": file, "speed": 0.0 });
    let mut recorded = host.capture("capture-pcap", "recorded", &recorded);
    host.carry(&mut recorded, &mut old, FRAMES);
    host.carry(&mut new, &mut b, FRAMES);
    assert_eq!(received(&guest_b, FRAMES), sent);

    assert_eq!((host.count("a", "frames_in"), host.count("b", "frames_in")), (FRAMES as u64, FRAMES as u64));
    for violations in [a.violations(), b.violations(), old.violations(), new.violations()] {
        assert_eq!(violations, 0);
    }
}

#[test]
fn a_panic_in_an_old_plugin_ends_its_instance_alone() {
    let host = Host::start();
    let mut healthy = host.link("link-1-0", "healthy", &json!({ "bind": "127.0.0.1:0" }));
    let mut sick = host.link("link-1-0", "sick", &json!({ "bind": "127.0.0.1:0", "panics": true }));
    for _ in 0..2 {
        assert!(matches!(sick.recv(&mut host.slots()), Err(InstanceError::Panicked)));
    }
    drop(sick);
    assert_eq!(healthy.recv(&mut host.slots()).unwrap(), 0);
}
