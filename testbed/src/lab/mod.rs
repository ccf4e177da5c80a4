//! A standing lab: up, down, and running things in it.
//!
//! Order matters for crash safety. Up: lock, state file, namespaces, contents. Down: processes, namespaces,
//! state file. Whatever the state file names may exist; nothing that it does not name is ever touched.

mod file;
pub(crate) mod layout;
pub mod process;
pub mod spec;
pub mod state;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use nix::unistd::geteuid;

use crate::batch::Batch;
use crate::error::{Error, Result, io_error};
use crate::{link_state, netns};
use process::Process;
use spec::LabSpec;
use state::{Lock, State};

/// Kernel settings of every namespace: no IPv6 chatter on networks where silence is asserted, and no
/// reverse-path filter between a host's commodity and reservable interfaces.
const SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
];

/// The processors among which received frames are spread by flow. Without it a veth pair reorders: what a
/// token bucket lets go on one processor may overtake what it let go on another, which no wire does.
const SPREAD_BY_FLOW: &str = "/proc/sys/net/core/rps_default_mask";

/// Makes a namespace a router.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A lab that is up. Dropping one that this value brought up takes it down.
#[derive(Debug)]
pub struct Lab {
    spec: LabSpec,
    is_owned: bool,
}

/// What taking a lab down removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleared {
    /// Namespaces deleted.
    pub namespaces: usize,
    /// Processes ended.
    pub processes: usize,
}

impl Lab {
    /// Brings a lab up.
    ///
    /// # Errors
    /// [`Error::AlreadyUp`], [`Error::ForeignNamespace`], [`Error::NotRoot`], or what `ip` and `tc` said;
    /// after an error nothing is left.
    pub fn up(spec: LabSpec) -> Result<Self> {
        if !geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let lock = Lock::acquire(&spec.name)?;
        if State::load(&spec.name)?.is_some() {
            return Err(Error::AlreadyUp { lab: spec.name });
        }
        let state = State { namespaces: spec.namespaces(), processes: Vec::new(), lab: spec };
        if let Some(namespace) = state.namespaces.iter().find(|name| netns::exists(name)) {
            let namespace = namespace.clone();
            lock.forget()?;
            return Err(Error::ForeignNamespace { namespace });
        }
        let made =
            state.save().and_then(|()| lock.make_runtime_directory()).and_then(|()| make(&state.lab, &lock));
        if let Err(error) = made {
            clear(&state, lock)?;
            return Err(error);
        }
        Ok(Self { spec: state.lab, is_owned: true })
    }

    /// A lab that somebody brought up; dropping this value leaves it standing.
    pub fn attach(name: &str) -> Result<Self> {
        let state = State::load(name)?.ok_or_else(|| Error::NotUp { lab: name.to_owned() })?;
        Ok(Self { spec: state.lab, is_owned: false })
    }

    /// Leaves the lab standing for others to attach to and take down.
    pub fn leave_standing(mut self) {
        self.is_owned = false;
    }

    /// Takes the lab down.
    pub fn down(mut self) -> Result<Cleared> {
        self.is_owned = false;
        down(&self.spec.name)
    }

    /// Where processes of the lab may keep sockets; goes with the lab.
    pub fn runtime_directory(&self) -> PathBuf {
        state::runtime_directory(&self.spec.name)
    }

    /// What the lab consists of.
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// Path of a member's namespace, for a capture plugin's `netns`.
    pub fn namespace_path(&self, member: &str) -> Result<PathBuf> {
        self.spec.member_namespace(member).map(|namespace| netns::path(&namespace))
    }

    /// Runs `work` in a member's namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, member: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        netns::inside(&self.spec.member_namespace(member)?, work)
    }

    /// Starts a process in a member's namespace, in a process group of its own, and records it, so that
    /// `down` ends it. The caller may end it earlier and owns the wait.
    pub fn spawn(&self, member: &str, command: &mut Command) -> Result<Child> {
        let program = describe(command);
        command.process_group(0);
        let mut child = self.inside(member, || command.spawn())?.map_err(io_error("start", &program))?;
        let recorded = self.record(member, program, child.id());
        if recorded.is_err() {
            // Unrecorded, it would outlive the lab.
            let _ = child.kill();
            let _ = child.wait();
        }
        recorded.map(|()| child)
    }

    /// Runs a command in a member's namespace to its end and returns what it printed.
    pub fn exec(&self, member: &str, command: &mut Command) -> Result<Output> {
        let program = describe(command);
        self.inside(member, || command.output())?.map_err(io_error("run", program))
    }

    /// Runs `ip` commands in a member's namespace, in order up to the first that fails. What they make goes with
    /// the lab.
    pub fn ip(&self, member: &str, lines: Vec<String>) -> Result<()> {
        let lock = Lock::acquire(&self.spec.name)?;
        Batch::ip(&self.spec.member_namespace(member)?, lines).run(Some(lock.file()))
    }

    fn record(&self, member: &str, command: String, pid: u32) -> Result<()> {
        let _lock = Lock::acquire(&self.spec.name)?;
        let mut state =
            State::load(&self.spec.name)?.ok_or_else(|| Error::NotUp { lab: self.spec.name.clone() })?;
        state.processes.retain(Process::is_alive);
        let pid = pid.cast_signed();
        // A process that has ended already needs no ending.
        if let Some(started) = process::start_time(pid) {
            state.processes.push(Process { pid, started, member: member.to_owned(), command });
        }
        state.save()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.is_owned
            && let Err(error) = down(&self.spec.name)
        {
            tracing::warn!(lab = self.spec.name, %error, "lab not taken down");
        }
    }
}

/// Takes a lab down, whatever is left of it. One that is not up is no error: nothing was cleared.
pub fn down(name: &str) -> Result<Cleared> {
    file::check_lab_name(name).map_err(|_| Error::NotUp { lab: name.to_owned() })?;
    let lock = Lock::acquire(name)?;
    match State::load(name)? {
        Some(state) => clear(&state, lock),
        None => {
            lock.forget()?;
            Ok(Cleared { namespaces: 0, processes: 0 })
        }
    }
}

/// Names under `/run/netns` that carry this lab's prefix: none after `down`.
pub fn namespaces_left(name: &str) -> Vec<String> {
    let prefix = format!("vr-{name}-");
    let entries = std::fs::read_dir(netns::path("")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|namespace| namespace.starts_with(&prefix)).collect()
}

fn make(spec: &LabSpec, lock: &Lock) -> Result<()> {
    layout::namespaces(spec).run(Some(lock.file()))?;
    let guests: Vec<_> = spec.guests().map(|(_, guest)| spec.namespace(&guest.name)).collect();
    for namespace in spec.namespaces() {
        let is_guest = guests.contains(&namespace);
        let is_spread = !is_guest && spec.commodity.rate.is_some();
        netns::inside(&namespace, || apply_settings(is_spread))?.map_err(io_error("set up", namespace))?;
    }
    for router in spec.commodity.core.iter().flat_map(|core| &core.routers) {
        let namespace = spec.namespace(router);
        netns::inside(&namespace, || std::fs::write(FORWARDING, "1"))?
            .map_err(io_error("set up", namespace))?;
    }
    layout::contents(spec).iter().try_for_each(|batch| batch.run(Some(lock.file())))?;
    layout::carrying(spec)
        .iter()
        .try_for_each(|(namespace, names)| link_state::wait_until_carrying(Some(namespace), names))
}

/// Settings for interfaces to come. Guests are not spread: their kernel is their own business; nor is a lab
/// without rates, where no bucket is there to reorder.
fn apply_settings(is_spread: bool) -> std::io::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get().min(32));
    let mask = format!("{:x}", (1_u64 << processors) - 1);
    let spread = is_spread.then_some((SPREAD_BY_FLOW, mask.as_str()));
    for (path, value) in SETTINGS.into_iter().chain(spread) {
        match std::fs::write(path, value) {
            // A kernel without IPv6, or too old to spread by default, has nothing to set.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn clear(state: &State, lock: Lock) -> Result<Cleared> {
    let (processes, survivors) = process::end(&state.processes, &state.namespaces);
    if survivors > 0 {
        tracing::warn!(lab = state.lab.name, survivors, "processes outlive SIGKILL");
    }
    let standing: Vec<_> = state.namespaces.iter().filter(|name| netns::exists(name)).collect();
    let lines = standing.iter().map(|name| format!("netns delete {name}")).collect();
    Batch::ip_here(lines).run(Some(lock.file()))?;
    lock.forget()?;
    Ok(Cleared { namespaces: standing.len(), processes })
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
