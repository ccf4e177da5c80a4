//! Suite `capture`: how capture-iouring's ways of calling the kernel compare, for each kind of interface. Each way
//! stands against kernel VXLAN in the same run; what one way gives of another is the quotient of the two ratios.

use super::Options;
use super::dataplane::{CLEAR, CLEAR_VETH};
use super::load::Load;
use super::node::Variant;
use super::record::Record;
use super::underlay::Underlay;
use super::versus::Versus;
use crate::artifacts::Artifacts;

const LOADS: &[Load] = &[Load::Tcp1, Load::Small, Load::RoundTrip];
const PLAIN: &str = "reader = \"plain\"\nwriter = \"plain\"";
const READER: &str = "reader = \"ring\"\nwriter = \"plain\"";
const WRITER: &str = "reader = \"plain\"\nwriter = \"ring\"";
const BOTH: &str = "reader = \"ring\"\nwriter = \"ring\"";
const VARIANTS: [(Variant, &[Load]); 8] = [
    (Variant { name: "tap-plain", capture: PLAIN, ..CLEAR }, LOADS),
    (Variant { name: "tap-ring-reader", capture: READER, ..CLEAR }, LOADS),
    (Variant { name: "tap-ring-writer", capture: WRITER, ..CLEAR }, LOADS),
    (Variant { name: "tap-ring", capture: BOTH, ..CLEAR }, LOADS),
    (Variant { name: "veth-plain", capture: PLAIN, ..CLEAR_VETH }, LOADS),
    (Variant { name: "veth-ring-reader", capture: READER, ..CLEAR_VETH }, LOADS),
    (Variant { name: "veth-ring-writer", capture: WRITER, ..CLEAR_VETH }, LOADS),
    (Variant { name: "veth-ring", capture: BOTH, ..CLEAR_VETH }, LOADS),
];
const UNDERLAYS: [Underlay; 2] = [Underlay::Wire, Underlay::Super];

/// Measures.
///
/// # Errors
/// If a baseline fails, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    let mut versus = Versus::set(options, built, &VARIANTS)?;
    for round in 0..options.rounds {
        for underlay in UNDERLAYS {
            versus.round(round, underlay, LOADS)?;
        }
    }
    versus.end("capture")
}
