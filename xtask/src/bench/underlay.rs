//! The networks that the overlay runs on: one veth pair, with more or less of what real cards do.

use std::process::Command;

use anyhow::bail;
use vreserve_testbed::Lab;

/// Everything that a sender's kernel may leave to the card.
const SEGMENTATION: [&str; 5] =
    ["tso", "gso", "tx-udp-segmentation", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"];

/// What the underlay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Underlay {
    /// Hands super-frames of up to 64 KiB through, as a veth pair does by itself.
    Super,
    /// Every frame is cut to the MTU before it leaves, as in front of a real card.
    Wire,
    /// Cut as on `Wire`, and the receiving end coalesces (GRO), as real cards' drivers do.
    Nic,
}

impl Underlay {
    /// All of them, those of the targets first.
    pub(crate) const ALL: [Self; 3] = [Self::Wire, Self::Super, Self::Nic];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Super => "super",
            Self::Wire => "wire",
            Self::Nic => "nic",
        }
    }

    /// Makes the interfaces, each given by member and name, behave so.
    ///
    /// # Errors
    /// If ethtool refuses.
    pub(crate) fn apply(self, lab: &Lab, interfaces: &[(&str, &str)]) -> anyhow::Result<()> {
        for (member, interface) in interfaces {
            let mut command = Command::new("ethtool");
            command.args(["-K", interface]).args(self.features());
            let output = lab.exec(member, &mut command)?;
            if !output.status.success() {
                bail!("ethtool in {member}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(())
    }

    fn features(self) -> Vec<&'static str> {
        let segmentation = if self == Self::Super { "on" } else { "off" };
        let coalescing = if self == Self::Nic { "on" } else { "off" };
        let features = SEGMENTATION.into_iter().flat_map(|feature| [feature, segmentation]);
        features.chain(["gro", coalescing]).collect()
    }
}
