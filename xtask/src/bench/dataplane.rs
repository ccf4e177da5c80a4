//! Suite `dataplane`: guest to guest against kernel VXLAN between the same two nodes, on every underlay.

use std::time::Duration;

use super::Options;
use super::busy;
use super::ground::{GUEST_MTU, Interface, Subject};
use super::load::Load;
use super::metric::Metric;
use super::node::Variant;
use super::record::{Record, Sample};
use super::underlay::Underlay;
use super::versus::Versus;
use crate::artifacts::Artifacts;

const ALL: &[Load] = &[Load::Tcp1, Load::Tcp4, Load::Small, Load::RoundTrip];
/// Where rows stand that have nothing to do with the underlay.
const EVERYWHERE: &str = "all";
/// How long daemons without work are watched.
const IDLE: Duration = Duration::from_secs(2);

/// Clear text in the format of kernel VXLAN, guests on TAPs, and everything else as it is by default.
pub(crate) const CLEAR: Variant = Variant {
    name: "clear",
    link: "use = \"link-udp\"\nformat = \"vxlan\"",
    interface: Interface::Absent,
    node: "",
    capture: "",
    infer: "",
    mtu: GUEST_MTU,
};
/// The same, but workers sleep at once when there is nothing to do; by default they look again for a while.
pub(super) const CLEAR_SLEEP: Variant = Variant { name: "clear-sleep", node: "spin = \"0s\"", ..CLEAR };
/// Guests on veth pairs.
pub(super) const CLEAR_VETH: Variant = Variant { name: "clear-veth", interface: Interface::Veth, ..CLEAR };
/// The same, by VXLAN devices of the kernel.
const CLEAR_DEVICE: Variant = Variant { name: "clear-device", link: "use = \"link-vxlan\"", ..CLEAR };
/// Sealed datagrams.
pub(crate) const SECURE: Variant =
    Variant { name: "secure", link: "use = \"link-udp\"\nformat = \"secure\"", ..CLEAR };

/// Measures.
///
/// # Errors
/// If a baseline fails, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    let variants: [(Variant, &[Load]); 5] = [
        (CLEAR, ALL),
        (CLEAR_SLEEP, &[Load::Small, Load::RoundTrip]),
        (CLEAR_VETH, &[Load::Tcp1, Load::Small]),
        (CLEAR_DEVICE, ALL),
        (SECURE, ALL),
    ];
    let mut versus = Versus::set(options, built, &variants)?;
    idle(&mut versus)?;
    for round in 0..options.rounds {
        for underlay in Underlay::ALL {
            versus.round(round, underlay, ALL)?;
        }
    }
    memory(&mut versus)?;
    versus.end("dataplane")
}

/// What daemons cost that have nothing to do; they stand there while others are measured.
fn idle(versus: &mut Versus) -> anyhow::Result<()> {
    let worked = |subject: &Subject| -> anyhow::Result<f64> {
        subject.pids.iter().map(|&pid| busy::process_seconds(pid)).sum()
    };
    let before = versus.ours().map(worked).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(IDLE);
    let share = |(subject, before)| Ok(100.0 * (worked(subject)? - before) / IDLE.as_secs_f64());
    let shares = versus.ours().zip(before).map(share).collect::<anyhow::Result<Vec<_>>>()?;
    keep(versus, Metric::IdleCpu, &shares);
    Ok(())
}

/// The larger of a pair's two daemons.
fn memory(versus: &mut Versus) -> anyhow::Result<()> {
    let peak = |subject: &Subject| busy::largest_memory_peak_mib(&subject.pids);
    let peaks = versus.ours().map(peak).collect::<anyhow::Result<Vec<_>>>()?;
    keep(versus, Metric::MemoryPeak, &peaks);
    Ok(())
}

/// One value for each of ours, in their order.
fn keep(versus: &mut Versus, metric: Metric, values: &[f64]) {
    let names: Vec<_> = versus.ours().map(|subject| subject.name.clone()).collect();
    versus.outcome.samples.extend(names.into_iter().zip(values).map(|(subject, &value)| Sample {
        round: 0,
        setting: EVERYWHERE.to_owned(),
        subject,
        metric,
        value,
        baseline: None,
    }));
}
