//! Whether the lead believes a report that could be read: absurd volumes are refused, because one of them
//! would be the largest cell that everything else is normalised by.

use std::time::Duration;

use vreserve_sdk::Failure;

use crate::report::{Report, Volume};

/// No node sends faster than 10 Tbit/s.
const MAX_BYTES_PER_SECOND: u64 = 10_000_000_000_000 / 8;
/// A node that was suspended for longer than this starts a new interval.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// The least an Ethernet frame has.
const MIN_FRAME_BYTES: u64 = 14;

/// Checks a report from a node that may be broken or hostile. What passes can be summed without overflow.
///
/// # Errors
/// `Invalid` with the field.
pub(crate) fn check(report: &Report) -> Result<(), Failure> {
    if report.interval > MAX_INTERVAL {
        return Err(Failure::invalid("interval", "longer than an hour"));
    }
    let Volume { bytes, frames } = total(report)?;
    let most = report.interval.as_micros() * u128::from(MAX_BYTES_PER_SECOND) / 1_000_000;
    if u128::from(bytes) > most {
        return Err(Failure::invalid("cells", format!("{bytes} bytes in {:?}", report.interval)));
    }
    if frames > bytes / MIN_FRAME_BYTES {
        return Err(Failure::invalid("cells", format!("{frames} frames in {bytes} bytes")));
    }
    Ok(())
}

fn total(report: &Report) -> Result<Volume, Failure> {
    let volumes = report.cells.iter().map(|(_, volume)| volume);
    volumes
        .chain([&report.other])
        .try_fold(Volume::default(), |sum, more| {
            let bytes = sum.bytes.checked_add(more.bytes)?;
            Some(Volume { bytes, frames: sum.frames.checked_add(more.frames)? })
        })
        .ok_or_else(|| Failure::invalid("cells", "more bytes than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Pair;
    use vreserve_sdk::model::MacAddr;

    fn report(interval: Duration, bytes: u64, frames: u64) -> Report {
        let pair = Pair { source: MacAddr([2, 0, 0, 0, 0, 1]), destination: MacAddr([2, 0, 0, 0, 0, 2]) };
        Report { interval, cells: vec![(pair, Volume { bytes, frames }); 2], ..Report::default() }
    }

    #[test]
    fn absurd_reports_are_refused_and_fast_ones_believed() {
        let half = Duration::from_millis(500);
        assert_eq!(check(&report(half, 100_000_000_000, 1_000_000)), Ok(()));
        assert_eq!(check(&report(Duration::ZERO, 0, 0)), Ok(()));
        for absurd in [
            report(half, 1_000_000_000_000_000_000, 1),
            report(half, u64::MAX, 1),
            report(half, 1_000, 1_000),
            report(Duration::ZERO, 64, 1),
            report(Duration::from_secs(1 << 40), 64, 1),
        ] {
            assert!(check(&absurd).is_err(), "{absurd:?}");
        }
    }
}
