//! The node's last known part of the overlay, in its state directory: a node that boots while no proxy
//! answers forwards by it. Circuits are not kept: whether one still exists only the lead can say.

use std::io;
use std::path::{Path, PathBuf};

use vreserve_core::overlay::NodeOverlay;

/// Where the last known part is kept.
pub(super) struct Memory {
    path: PathBuf,
    last: NodeOverlay,
}

impl Memory {
    pub(super) fn new(state_dir: &Path) -> Self {
        Memory { path: state_dir.join("overlay.json"), last: NodeOverlay::default() }
    }

    /// What was kept; an empty overlay if nothing was, or if it cannot be read.
    pub(super) fn recall(&mut self) -> NodeOverlay {
        let read = std::fs::read(&self.path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        match read {
            Ok(overlay) => {
                self.last = NodeOverlay::star(&overlay);
                self.last.clone()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => NodeOverlay::default(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "last known overlay not read");
                NodeOverlay::default()
            }
        }
    }

    /// Keeps the star of an overlay, if it is another than the one kept.
    pub(super) fn keep(&mut self, overlay: &NodeOverlay) {
        let star = overlay.star();
        if star == self.last {
            return;
        }
        if let Err(error) = self.write(&star) {
            tracing::warn!(path = %self.path.display(), %error, "overlay not kept for the next start");
        }
        self.last = star;
    }

    fn write(&self, overlay: &NodeOverlay) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(overlay)?)?;
        std::fs::rename(fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_core::ids::{LinkClass, LinkId};
    use vreserve_core::key::PublicKey;
    use vreserve_core::overlay::OverlayLink;

    #[test]
    fn the_star_is_recalled_and_circuits_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let link = |id, class| OverlayLink {
            id: LinkId(id),
            class,
            far_node: "hub".into(),
            endpoint: "internet".into(),
            far_address: "192.0.2.1:4789".into(),
            far_key: PublicKey([id as u8; 32]),
        };
        let overlay = NodeOverlay {
            revision: 9,
            links: vec![link(1, LinkClass::Star), link(2, LinkClass::Circuit)],
            ..NodeOverlay::default()
        };
        Memory::new(dir.path()).keep(&overlay);
        let recalled = Memory::new(dir.path()).recall();
        assert_eq!(recalled.revision, 0);
        assert_eq!(recalled.links, [link(1, LinkClass::Star)]);
        std::fs::write(dir.path().join("overlay.json"), "{").unwrap();
        assert_eq!(Memory::new(dir.path()).recall(), NodeOverlay::default());
    }
}
