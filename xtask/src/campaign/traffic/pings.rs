//! Pings with patterns that checksums are weak against, and pings too large for their way.

use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::{Talk, Way};

/// All zeros, all ones, and words that cancel out in a one's complement sum.
const PATTERNS: [&str; 4] = ["00", "ff", "00ff", "a55a0102"];
/// Payloads: tiny, odd, the largest that fits 1450 over IPv4 and over IPv6.
const SIZES: [&str; 3] = ["16", "777", "1402"];
/// Beyond any way of the campaign, and within the guest's own MTU.
const JUMBO: &str = "4000";
const PAUSE: Duration = Duration::from_secs(5);

/// What came of the pings in one direction.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Pings {
    pub(crate) way: &'static str,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    /// With other octets than were sent.
    pub(crate) altered: u64,
}

/// What came of the pings that are too large.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Jumbo {
    pub(crate) sent: u64,
    /// Answered "fragmentation needed" or "packet too big".
    pub(crate) told: u64,
}

/// Pings for as long as there is time.
///
/// # Errors
/// If `ping` cannot be started.
pub(crate) fn run(talk: &Talk, way: Way) -> anyhow::Result<Pings> {
    let (from, to) = talk.ends(way);
    let mut pings = Pings { way: way.name(), ..Pings::default() };
    for nth in 0.. {
        if !talk.goes_on() {
            break;
        }
        let (pattern, size) = (PATTERNS[nth % PATTERNS.len()], SIZES[nth % SIZES.len()]);
        let mut command = Command::new("ping");
        command.args(["-n", "-c", "10", "-i", "0.1", "-W", "2", "-p", pattern, "-s", size]);
        let output = talk.lab.exec(&from.guest, command.arg(to.address(nth % 2 == 1).to_string()))?;
        pings.add(&String::from_utf8_lossy(&output.stdout));
        std::thread::sleep(PAUSE.min(talk.left()));
    }
    Ok(pings)
}

/// Sends pings from guest a that no underlay takes, for as long as there is time.
///
/// # Errors
/// If `ping` cannot be started.
pub(crate) fn run_jumbo(talk: &Talk) -> anyhow::Result<Jumbo> {
    let mut jumbo = Jumbo::default();
    for nth in 0.. {
        if !talk.goes_on() {
            break;
        }
        // The guest would believe what it was told before, and send nothing.
        talk.lab.ip(&talk.a.guest, vec!["route flush cache".to_owned()])?;
        talk.lab.exec(&talk.a.guest, Command::new("ip").args(["-6", "route", "flush", "cache"]))?;
        let mut command = Command::new("ping");
        command.args(["-n", "-M", "do", "-c", "1", "-W", "1", "-s", JUMBO]);
        let to = talk.b.address(nth % 2 == 1).to_string();
        let output = talk.lab.exec(&talk.a.guest, command.arg(to))?;
        jumbo.sent += 1;
        jumbo.told += told(&String::from_utf8_lossy(&output.stdout));
        std::thread::sleep(PAUSE.min(talk.left()));
    }
    Ok(jumbo)
}

impl Pings {
    fn add(&mut self, said: &str) {
        let before = |word: &str| {
            let (head, _) = said.split_once(word)?;
            head.trim_end().rsplit([' ', '\n', '+']).next()?.parse::<u64>().ok()
        };
        self.sent += before("packets transmitted").unwrap_or(0);
        self.received += before("received").unwrap_or(0);
        self.duplicated += before("duplicates").unwrap_or(0);
        self.altered += said.matches("wrong data byte").count() as u64;
    }
}

fn told(said: &str) -> u64 {
    (said.matches("Frag needed").count() + said.matches("Packet too big").count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ping_says_is_counted() {
        let mut pings = Pings::default();
        pings.add(
            "wrong data byte #9 should be 0xff but was 0x0\n\
                   10 packets transmitted, 9 received, +2 duplicates, 10% packet loss, time 9ms\n",
        );
        assert_eq!((pings.sent, pings.received, pings.duplicated, pings.altered), (10, 9, 2, 1));
        let said = "From 10.0.0.2 icmp_seq=1 Frag needed and DF set (mtu = 1450)\n\
                    From fd00::2 icmp_seq=1 Packet too big: mtu=1450\n";
        assert_eq!(told(said), 2);
    }
}
