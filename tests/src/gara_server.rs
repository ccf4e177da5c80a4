//! A GARA server of the lab, and the certificates with which clients come to it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_testbed::Lab;
use vreserve_testbed::gara::admin::{Answer, Question, ask};
use vreserve_testbed::gara::certificates;

use crate::binaries::program;
use crate::wait;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server with its files. It must be dropped before its lab, whose routers it sets up.
#[derive(Debug)]
pub struct GaraServer {
    process: Option<Child>,
    /// Where clients come to.
    pub address: SocketAddr,
    directory: PathBuf,
}

impl GaraServer {
    /// Starts one outside the lab, for clients of this process.
    #[track_caller]
    pub fn beside(lab: &Lab, directory: &Path, owners: &[&str]) -> Self {
        // Free a moment ago, and nobody else asks for ports here.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
        let mut server = Self::at(free.expect("loopback has free ports"), directory, owners);
        server.start(lab);
        server
    }

    /// Starts one on a host of the lab, for the lab's daemons.
    #[track_caller]
    pub fn on(lab: &Lab, host: &str, directory: &Path, owners: &[&str]) -> Self {
        let commodity = lab.spec().host(host).expect("the lab has this host").commodity.addr();
        let mut server = Self::at((commodity, 2119).into(), directory, owners);
        let mut command = server.command(lab);
        server.process = Some(lab.spawn(host, &mut command).expect("the program starts"));
        server.wait();
        server
    }

    /// Starts it again, outside the lab, with what it had written down.
    #[track_caller]
    pub fn start(&mut self, lab: &Lab) {
        self.process = Some(self.command(lab).spawn().expect("the program starts"));
        self.wait();
    }

    /// Ends it.
    pub fn stop(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            kill(Pid::from_raw(process.id().cast_signed()), signal).expect("our own child");
            process.wait().expect("our own child can be waited for");
        }
    }

    /// Reservations that hold capacity, by the server's own word.
    pub fn held(&self) -> Option<usize> {
        match ask(&self.socket(), &Question::List) {
            Ok(Answer::Reservations(all)) => {
                Some(all.iter().filter(|(_, one)| one.state.holds_capacity()).count())
            }
            _ => None,
        }
    }

    /// A file among the certificates: `ca.pem`, and `<owner>.pem` and `<owner>.key` for each owner.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join("certificates").join(name)
    }

    fn at(address: SocketAddr, directory: &Path, owners: &[&str]) -> Self {
        let server = Self { process: None, address, directory: directory.to_owned() };
        let owners: Vec<_> = owners.iter().map(|&owner| owner.to_owned()).collect();
        let made = certificates::make(&directory.join("certificates"), &owners, &[address.ip()]);
        made.expect("certificates can be made");
        server
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("gara.sock")
    }

    fn command(&self, lab: &Lab) -> Command {
        let mut command = Command::new(program("gara-server"));
        command.args(["--lab", &lab.spec().name, "--listen", &self.address.to_string()]);
        command.arg("--ca").arg(self.file("ca.pem")).arg("--cert").arg(self.file("server.pem"));
        command.arg("--key").arg(self.file("server.key")).arg("--state").arg(self.directory.join("book"));
        command.arg("--socket").arg(self.socket()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn wait(&self) {
        wait::until("the server's answer", PATIENCE, || self.held());
    }
}

impl Drop for GaraServer {
    fn drop(&mut self) {
        self.stop(Signal::SIGTERM);
    }
}
