//! Cases of every kind that come last: opening and closing a thousand times.

use std::time::{Duration, Instant};

use vreserve_abi::Identity;

use super::calls::open_and_close;
use super::case::{Case, Subject, Verdict, ensure};
use super::host::{Offer, StateDir};
use super::keys;
use super::opened::opened;
use super::pool::GuardedPool;
use super::process::Holdings;

const TIMES: usize = 1000;
/// What is made once for all instances is made by then.
const WARM_UP: usize = 100;
/// Kilobytes by which memory may grow over the thousand: a page of 4 KiB for each would be as much.
const GROWTH: u64 = 4000;
/// Threads and descriptors that go by themselves are gone by then.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const CASES: &[Case] = &[Case {
    name: "a_thousand_instances_leave_nothing_behind",
    shows: "an instance that is closed has given back its descriptors, threads and memory",
    run: thousand,
}];

fn thousand(subject: &Subject) -> Verdict {
    let (pool, state) = (GuardedPool::new(), StateDir::new()?);
    let identity = if subject.kind == "link" { keys::identity(1) } else { Identity::NONE };
    let offer = Offer::new(pool.as_pool(), identity, state.path());
    let config = subject.config(1)?.to_string();
    open_times(subject, &offer, &config, WARM_UP)?;
    let before = Holdings::now()?;
    open_times(subject, &offer, &config, TIMES)?;
    let after = settled(&before)?;
    let what = format!("after {TIMES} instances");
    let (fewer, more) = (before.descriptors, after.descriptors);
    ensure!(more <= fewer, "{what} the process has {more} descriptors open, {fewer} before");
    let (fewer, more) = (before.threads, after.threads);
    ensure!(more <= fewer, "{what} the process has {more} threads, {fewer} before");
    let grown = after.memory.saturating_sub(before.memory);
    ensure!(grown < GROWTH, "{what} the process has {grown} KiB more memory");
    Ok(())
}

fn open_times(subject: &Subject, offer: &Offer, config: &str, times: usize) -> Verdict {
    let once = |_: &serde_json::Value| open_and_close(subject.plugin, subject.kind, offer, config);
    for time in 0..times {
        opened(subject, 1, &once).map_err(|unmet| unmet.during(&format!("after {time} times")))?;
    }
    Ok(())
}

/// What the process has once it has no more than before, or patience is over.
fn settled(before: &Holdings) -> Result<Holdings, String> {
    let since = Instant::now();
    loop {
        let now = Holdings::now()?;
        let is_back = now.descriptors <= before.descriptors && now.threads <= before.threads;
        if is_back || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        std::thread::yield_now();
    }
}
