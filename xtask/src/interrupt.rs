//! Ctrl-C, SIGTERM and SIGHUP as a flag. Whoever waits looks at it and returns, so that what was made is
//! unmade on the way out by those who made it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// From here on the signals set the flag and do nothing else.
pub(crate) fn catch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| IS_INTERRUPTED.store(true, Ordering::Relaxed)).context("catch signals")
}

/// Fails once a signal came.
pub(crate) fn check() -> anyhow::Result<()> {
    if IS_INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits until `look` finds something, for at most `patience`.
///
/// # Errors
/// `what` did not come in time; what `look` failed with; a signal.
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        check()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", patience.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_is_found_and_at_the_latest_in_time() {
        let mut looks = 0;
        let found = wait_for("a third look", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let error = wait_for("the moon", Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert_eq!(error.to_string(), "the moon: not within 0 s");
    }
}
