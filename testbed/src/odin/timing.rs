//! How long the optical switches took, and how long ours shall take. Pure.
//!
//! The paper's figures (§4.1): 2.5 s of software to configure its switches one after the other, about 15 s
//! until they are stable; 12 s to tear down. Its path led over the two sites in use (§4), so one switch takes
//! half of the 2.5 s.

use std::time::Duration;

/// Software time of the paper's path.
const SOFTWARE: Duration = Duration::from_millis(2500);
/// Switches on the paper's path.
const SWITCHES_ON_PAPERS_PATH: u32 = 2;
/// From the last switch configured to stable light.
const STABILISATION: Duration = Duration::from_secs(15);
/// Tearing a path down.
const TEARDOWN: Duration = Duration::from_secs(12);

/// Whether a path's switches are configured one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SwitchOrder {
    /// As the original did: the software time grows with the path.
    #[default]
    Serial,
    /// All at once: the software time is that of one switch.
    Parallel,
}

/// The provider's delays, scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    scale: f64,
    order: SwitchOrder,
}

impl Timing {
    /// `scale` is 1 for the paper's times, less to hurry; between 0 and 100.
    ///
    /// # Errors
    /// A sentence, when the scale is out of range.
    pub fn new(scale: f64, order: SwitchOrder) -> Result<Self, String> {
        if (0.0..=100.0).contains(&scale) {
            Ok(Self { scale, order })
        } else {
            Err(format!("time scale {scale} is not between 0 and 100"))
        }
    }

    /// Configuring the `nth` switch of a path, from 0.
    pub fn of_switch(&self, nth: usize) -> Duration {
        match self.order {
            SwitchOrder::Parallel if nth > 0 => Duration::ZERO,
            _ => (SOFTWARE / SWITCHES_ON_PAPERS_PATH).mul_f64(self.scale),
        }
    }

    /// From the first of so many switches to light.
    pub fn setup(&self, switches: usize) -> Duration {
        (0..switches).map(|nth| self.of_switch(nth)).sum::<Duration>() + self.stabilisation()
    }

    /// From the last switch configured to stable light.
    pub fn stabilisation(&self) -> Duration {
        STABILISATION.mul_f64(self.scale)
    }

    /// Tearing a path down.
    pub fn teardown(&self) -> Duration {
        TEARDOWN.mul_f64(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(timing: &Timing, switches: usize) -> f64 {
        timing.setup(switches).as_secs_f64()
    }

    #[test]
    fn the_papers_path_takes_the_papers_time() {
        let timing = Timing::new(1.0, SwitchOrder::Serial).unwrap();
        assert_eq!(setup(&timing, 2), 17.5);
        assert_eq!(timing.teardown().as_secs_f64(), 12.0);
    }

    #[test]
    fn serial_software_time_grows_with_the_path_and_parallel_does_not() {
        let serial = Timing::new(0.1, SwitchOrder::Serial).unwrap();
        assert!((setup(&serial, 4) - 2.0).abs() < 1e-6);
        let parallel = Timing::new(0.1, SwitchOrder::Parallel).unwrap();
        assert_eq!(setup(&parallel, 4), setup(&parallel, 1));
    }

    #[test]
    fn a_scale_that_is_none_is_refused() {
        for scale in [-0.1, f64::NAN, f64::INFINITY, 101.0] {
            assert!(Timing::new(scale, SwitchOrder::Serial).is_err(), "{scale}");
        }
    }
}
