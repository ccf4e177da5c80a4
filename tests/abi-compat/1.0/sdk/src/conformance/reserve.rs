//! The kit for reservation plugins.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vreserve_model::{FailureKind, Observed, RequestKey};

use super::backend::Backend;
use super::case::{Case, Subject, Unmet, Verdict, ensure, fail, said};
use super::host::StateDir;
use super::opened::{PATIENCE, panicking};
use super::reserving::{INSTALLATION, LONG, Site, handle_of, is_repeatable, request, to_value};
use super::surroundings::Provider;
use crate::{Handle, Verb};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "no_call_panics",
        shows: "no verb panics or fails as Internal, whatever document it is given; unknown verbs are Unsupported",
        run: no_call_panics,
    },
    Case {
        name: "capabilities_are_kept",
        shows: "every verb that the capabilities promise is there, and cancel and find always",
        run: capabilities_are_kept,
    },
    Case {
        name: "a_reservation_lives_and_ends",
        shows: "what is submitted is found under its key, is switched through, and is gone once it is released",
        run: lives_and_ends,
    },
    Case {
        name: "the_same_key_reserves_once",
        shows: "a key that is submitted twice holds one reservation",
        run: same_key,
    },
    Case {
        name: "list_and_find_are_honest",
        shows: "find and list_owned tell all that is held, nothing that is not, and nothing of another installation",
        run: honest,
    },
    Case {
        name: "release_is_idempotent",
        shows: "cancel of what is gone, or never was, succeeds",
        run: idempotent,
    },
    Case {
        name: "what_is_held_survives_a_restart",
        shows: "an instance opened again with the same state finds what the former one reserved, and can release it",
        run: restart,
    },
    Case {
        name: "gc_takes_what_is_not_valid",
        shows: "gc cancels what it is not told to keep, names it, and leaves the rest",
        run: garbage,
    },
    Case {
        name: "a_call_dropped_anywhere_leaks_nothing",
        shows: "a submit dropped after any part of its time can be released, and nothing is held afterwards",
        run: dropped_anywhere,
    },
    Case {
        name: "a_provider_that_hangs_holds_up_nothing_else",
        shows: "while the provider answers nothing no yes is made up and other calls return; afterwards nothing is held",
        run: hanging,
    },
    Case {
        name: "a_provider_that_is_gone_is_unavailable",
        shows: "without a provider nothing is granted and health says so; once it is back the same instance goes on",
        run: gone,
    },
    Case {
        name: "a_thousand_calls_at_once_are_answered",
        shows: "1000 calls under way at once all return, and all that was granted can be released",
        run: thousand_calls,
    },
    Case {
        name: "two_instances_are_independent",
        shows: "releasing and closing in one instance leaves what another holds",
        run: independent,
    },
];

/// Tried where the surroundings know how to make an instance panic.
pub(super) const PANIC: Case = Case {
    name: "a_panic_ends_its_call_alone",
    shows: "a call that panics has an unknown outcome, and the instance goes on",
    run: panics,
};

const VERBS: [Verb; 13] = [
    Verb::Submit,
    Verb::Cancel,
    Verb::Query,
    Verb::Commit,
    Verb::Abort,
    Verb::Activate,
    Verb::Deactivate,
    Verb::Modify,
    Verb::Find,
    Verb::ListOwned,
    Verb::Gc,
    Verb::Health,
    Verb::Events,
];
/// Parts of a submit's time after which it is dropped.
const DROPS: u32 = 24;
const CALLS: u32 = 1000;
/// So many may keep a disk busy.
const MANY: Duration = Duration::from_secs(300);
/// A call that hangs is given up after this, as the host gives one up after `reserve_timeout`.
const GIVE_UP: Duration = Duration::from_secs(3);

fn unknown_handle() -> Value {
    json!({ "key": format!("{INSTALLATION}-0-0"), "native_id": null })
}

fn no_call_panics(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let check = |verb: &str, document: &str| -> Verdict {
        let call = site.backend.start_raw(verb, document);
        // What waits for something is dropped.
        let Some(Err(failure)) = site.backend.finish_within::<Value>(call, Duration::from_millis(200)) else {
            return Ok(());
        };
        let is_defect = failure.kind == FailureKind::Internal || failure.reason.starts_with("panicked");
        let words = site.backend.last_words();
        ensure!(!is_defect, "{verb} of {document:?}: {}{words}", said(&failure));
        Ok(())
    };
    for verb in VERBS {
        for document in ["", "{", "{}", "7", "null", "\"\"", "[{},{}]", "{\"key\":[]}"] {
            check(verb.name(), document)?;
        }
    }
    for verb in ["", "explode", "SUBMIT", &"v".repeat(10_000)] {
        let answer = site.backend.finish::<Value>(site.backend.start_raw(verb, "null"));
        let is_right = answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Unsupported);
        ensure!(is_right, "the verb {verb:.20?} is answered with {answer:?}");
    }
    Ok(())
}

fn capabilities_are_kept(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let can = &site.capabilities;
    let handle = unknown_handle();
    let key = handle["key"].clone();
    let plain = json!({ "key": key, "owner": INSTALLATION, "a": "192.0.2.1", "z": "192.0.2.2", "rate": 1 });
    let pair = json!([handle, subject.surroundings.request(1).map_or(plain, |request| to_value(&request))]);
    for (is_promised, verb, document) in [
        (true, Verb::Cancel, &handle),
        (true, Verb::Find, &key),
        (can.list, Verb::ListOwned, &json!(INSTALLATION)),
        (can.two_phase, Verb::Commit, &handle),
        (can.two_phase, Verb::Abort, &handle),
        (!can.fused_activation, Verb::Activate, &pair),
        (!can.fused_activation, Verb::Deactivate, &handle),
        (can.modify, Verb::Modify, &pair),
        (can.events, Verb::Events, &json!(0)),
    ] {
        let answer = site.wait_for::<Value>(verb, document, PATIENCE);
        let is_missing =
            matches!(&answer, Some(Err(failure)) if failure.kind == FailureKind::Unsupported) && is_promised;
        ensure!(!is_missing, "its capabilities promise {verb}, which is unsupported");
    }
    Ok(())
}

fn lives_and_ends(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    let reserved = site.reserve(&request)?;
    ensure!(site.live(&request.key)?.len() == 1, "{} is not found once it is reserved", request.key);
    site.provider_holds(subject, 1)?;
    if !site.capabilities.fused_activation {
        let pair = json!([handle_of(&reserved), request]);
        let active: Observed = site.wait(Verb::Activate, &pair, "activate")?;
        ensure!(active.key == request.key, "activate answers with {}", active.key);
        site.wait::<Observed>(Verb::Deactivate, &to_value(&handle_of(&reserved)), "deactivate")?;
    }
    site.release(&request.key)?;
    site.must_be_gone(&request.key)?;
    site.provider_holds(subject, 0)
}

fn same_key(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    let first = site.reserve(&request)?;
    match site.wait_for::<Observed>(Verb::Submit, &to_value(&request), LONG) {
        Some(Ok(second)) => {
            let is_same = first.native_id.is_none() || second.native_id == first.native_id;
            ensure!(is_same, "the same key was given {:?} and {:?}", first.native_id, second.native_id);
        }
        // To say no to what is held already is as good.
        Some(Err(failure)) => ensure!(is_repeatable(&failure), "submitted again: {}", said(&failure)),
        None => fail!("submit of a key that is held has not returned for {LONG:?}"),
    }
    let found = site.live(&request.key)?.len();
    ensure!(found == 1, "{found} reservations are found under a key that was submitted twice");
    site.provider_holds(subject, 1)?;
    site.release(&request.key)?;
    site.must_be_gone(&request.key)?;
    site.provider_holds(subject, 0)
}

fn honest(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let mut held = Vec::new();
    for number in 1..=3 {
        let request = request(subject, number)?;
        site.reserve(&request)?;
        held.push(request.key);
    }
    tells(&site, &held)?;
    let released = held.remove(1);
    site.release(&released)?;
    site.must_be_gone(&released)?;
    tells(&site, &held)?;
    if site.capabilities.list {
        let others = site.listed("another")?;
        ensure!(others.is_empty(), "{} is listed for another installation", others[0]);
    }
    let nobody = RequestKey(format!("{INSTALLATION}-0-0"));
    ensure!(site.live(&nobody)?.is_empty(), "something is found under a key that was never submitted");
    for key in &held {
        site.release(key)?;
    }
    tells(&site, &[])?;
    site.provider_holds(subject, 0)
}

/// That exactly these keys are found and, if it can list, listed.
fn tells(site: &Site, held: &[RequestKey]) -> Verdict {
    for key in held {
        let found = site.live(key)?.len();
        ensure!(found == 1, "find names {found} reservations under {key}, which is held");
    }
    if site.capabilities.list {
        let listed = site.listed(INSTALLATION)?;
        if let Some(forgotten) = held.iter().find(|key| !listed.contains(key)) {
            fail!("list_owned does not name {forgotten}, which is held");
        }
        if let Some(made_up) = listed.iter().find(|key| !held.contains(key)) {
            fail!("list_owned names {made_up}, which is not held");
        }
    }
    Ok(())
}

fn idempotent(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    let handle = handle_of(&site.reserve(&request)?);
    site.release(&request.key)?;
    let bare = Handle { key: request.key.clone(), native_id: None };
    for handle in [to_value(&handle), to_value(&bare), to_value(&handle), unknown_handle()] {
        if let Some(Err(failure)) = site.wait_for::<()>(Verb::Cancel, &handle, LONG) {
            fail!("cancel of what is gone fails: {}", said(&failure));
        }
    }
    site.must_be_gone(&request.key)
}

fn restart(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    let before = site.reserve(&request)?;
    let site = site.reopen(subject, 1)?;
    let found = site.live(&request.key)?;
    ensure!(found.len() == 1, "after a restart {} is found {} times", request.key, found.len());
    let (was, is) = (&before.native_id, &found[0].native_id);
    ensure!(was == is, "after a restart the provider's id of {} is {is:?}, not {was:?}", request.key);
    site.release(&request.key)?;
    site.must_be_gone(&request.key)?;
    site.provider_holds(subject, 0)
}

fn garbage(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let (kept, garbage) = (request(subject, 1)?, request(subject, 2)?);
    site.reserve(&kept)?;
    site.reserve(&garbage)?;
    match site.wait_for::<Vec<RequestKey>>(Verb::Gc, &json!([kept.key]), LONG) {
        Some(Ok(cancelled)) => {
            ensure!(cancelled == [garbage.key.clone()], "gc names {cancelled:?}, not {}", garbage.key);
        }
        Some(Err(failure)) if failure.kind == FailureKind::Unsupported => {
            site.release(&kept.key)?;
            site.release(&garbage.key)?;
            return Err(Unmet::Skipped("it has no gc".to_owned()));
        }
        Some(Err(failure)) => fail!("gc: {}", said(&failure)),
        None => fail!("gc has not returned for {LONG:?}"),
    }
    site.must_be_gone(&garbage.key)?;
    ensure!(site.live(&kept.key)?.len() == 1, "gc took {}, which it was told to keep", kept.key);
    site.release(&kept.key)?;
    site.provider_holds(subject, 0)
}

fn dropped_anywhere(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let first = request(subject, 1)?;
    let since = Instant::now();
    site.reserve(&first)?;
    let whole = since.elapsed();
    site.release(&first.key)?;
    for part in 0..=DROPS {
        let request = request(subject, 1)?;
        let call = site.backend.start(Verb::Submit, &to_value(&request));
        // The first is dropped without having been asked at all. The points where a plugin waits cannot be seen
        // from here: they lie on a runtime of its own. So the drops are spread over its time.
        if part > 0 {
            let _ = site.backend.finish_within::<Observed>(call, whole * (part - 1) / (DROPS - 2));
        } else {
            drop(call);
        }
        let during = |unmet: Unmet| {
            unmet.during(&format!("a submit dropped after {part} of {DROPS} parts of its time"))
        };
        site.release(&request.key).map_err(during)?;
        site.must_be_gone(&request.key).map_err(during)?;
    }
    site.provider_holds(subject, 0)
}

fn hanging(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    subject.surroundings.set_provider(Provider::Hangs).map_err(Unmet::Skipped)?;
    let outcome = while_hanging(&site, &request);
    subject.surroundings.set_provider(Provider::Answers).map_err(Unmet::Skipped)?;
    outcome?;
    site.release(&request.key).map_err(|unmet| unmet.during("after the provider hung"))?;
    site.must_be_gone(&request.key)?;
    goes_on(subject, &site)
}

fn while_hanging(site: &Site, request: &vreserve_model::Request) -> Verdict {
    let hung = site.backend.start(Verb::Submit, &to_value(request));
    let since = Instant::now();
    site.backend.capabilities()?;
    let answer = site.backend.finish_within::<Observed>(hung, GIVE_UP);
    match answer {
        Some(Ok(observed)) => {
            fail!("a provider that answers nothing is said to have granted {}", observed.key)
        }
        Some(Err(failure)) => {
            ensure!(is_repeatable(&failure), "a request without an answer is {}", said(&failure))
        }
        None => {}
    }
    let took = since.elapsed();
    ensure!(
        took < GIVE_UP + PATIENCE,
        "a call that was dropped after {GIVE_UP:?} held others up for {took:?}"
    );
    Ok(())
}

/// That the provider holds nothing, and that the instance reserves and releases as ever.
fn goes_on(subject: &Subject, site: &Site) -> Verdict {
    let since = Instant::now();
    loop {
        match site.wait_for::<()>(Verb::Health, &Value::Null, PATIENCE) {
            Some(Err(failure)) if failure.kind == FailureKind::Unsupported => break,
            Some(Ok(())) => break,
            outcome => {
                ensure!(since.elapsed() < PATIENCE, "the provider is back, and health says {outcome:?}")
            }
        }
    }
    let request = request(subject, 1)?;
    site.reserve(&request)?;
    site.provider_holds(subject, 1)?;
    site.release(&request.key)?;
    site.provider_holds(subject, 0)
}

fn gone(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    let request = request(subject, 1)?;
    subject.surroundings.set_provider(Provider::Gone).map_err(Unmet::Skipped)?;
    let outcome = while_gone(&site, &request);
    subject.surroundings.set_provider(Provider::Answers).map_err(Unmet::Skipped)?;
    outcome?;
    site.release(&request.key).map_err(|unmet| unmet.during("after the provider was gone"))?;
    site.must_be_gone(&request.key)?;
    goes_on(subject, &site)
}

fn while_gone(site: &Site, request: &vreserve_model::Request) -> Verdict {
    match site.wait_for::<()>(Verb::Health, &Value::Null, LONG) {
        Some(Err(failure)) if matches!(failure.kind, FailureKind::Unavailable | FailureKind::Unsupported) => {
        }
        outcome => fail!("without a provider health says {outcome:?}"),
    }
    match site.wait_for::<Observed>(Verb::Submit, &to_value(request), LONG) {
        Some(Err(failure)) => {
            ensure!(is_repeatable(&failure), "without a provider submit is {}", said(&failure))
        }
        outcome => fail!("without a provider submit says {outcome:?}"),
    }
    Ok(())
}

fn thousand_calls(subject: &Subject) -> Verdict {
    let site = Site::open(subject, 1)?;
    if site.capabilities.serial || site.capabilities.two_phase {
        return thousand_questions(subject, &site);
    }
    let requests: Result<Vec<_>, _> = (0..CALLS).map(|number| request(subject, 1 + number % 4)).collect();
    let requests = requests?;
    let calls: Vec<_> =
        requests.iter().map(|request| site.backend.start(Verb::Submit, &to_value(request))).collect();
    for (call, request) in calls.into_iter().zip(&requests) {
        match site.backend.finish_within::<Observed>(call, MANY) {
            Some(Ok(observed)) => {
                ensure!(observed.key == request.key, "{} is answered with {}", request.key, observed.key);
            }
            Some(Err(failure)) => {
                ensure!(is_repeatable(&failure), "one of {CALLS} submits: {}", said(&failure));
            }
            None => fail!("one of {CALLS} submits has not returned for {MANY:?}"),
        }
    }
    let cancel = |key: &RequestKey| Handle { key: key.clone(), native_id: None };
    let calls: Vec<_> = requests
        .iter()
        .map(|request| site.backend.start(Verb::Cancel, &to_value(&cancel(&request.key))))
        .collect();
    for (call, request) in calls.into_iter().zip(&requests) {
        if !matches!(site.backend.finish_within::<()>(call, MANY), Some(Ok(()))) {
            site.release(&request.key)?;
        }
    }
    for request in &requests {
        site.must_be_gone(&request.key)?;
    }
    goes_on(subject, &site)
}

/// For those that take one request at a time: questions about one that is held.
fn thousand_questions(subject: &Subject, site: &Site) -> Verdict {
    let request = request(subject, 1)?;
    site.reserve(&request)?;
    let calls: Vec<_> = (0..CALLS).map(|_| site.backend.start(Verb::Find, &to_value(&request.key))).collect();
    for call in calls {
        match site.backend.finish_within::<Vec<Observed>>(call, LONG) {
            Some(Ok(found)) => ensure!(found.len() == 1, "one of {CALLS} finds names {}", found.len()),
            Some(Err(failure)) => fail!("one of {CALLS} finds: {}", said(&failure)),
            None => fail!("one of {CALLS} finds has not returned for {LONG:?}"),
        }
    }
    site.release(&request.key)?;
    site.must_be_gone(&request.key)?;
    site.provider_holds(subject, 0)
}

fn independent(subject: &Subject) -> Verdict {
    let (one, other) = (Site::open(subject, 1)?, Site::open(subject, 2)?);
    let (first, second) = (request(subject, 1)?, request(subject, 2)?);
    one.reserve(&first)?;
    other.reserve(&second)?;
    one.release(&first.key)?;
    one.must_be_gone(&first.key)?;
    ensure!(other.live(&second.key)?.len() == 1, "a release in one instance took what another holds");
    drop(one);
    ensure!(other.live(&second.key)?.len() == 1, "closing one instance took what another holds");
    other.release(&second.key)?;
    other.provider_holds(subject, 0)
}

fn panics(subject: &Subject) -> Verdict {
    let config = panicking(subject)?;
    let state = StateDir::new()?;
    let doomed = Backend::open(subject.plugin, &config, state.path())?;
    let request = request(subject, 1)?;
    for time in ["first", "second"] {
        let answer = doomed.submit(&request);
        let is_unknown = answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::UnknownOutcome);
        ensure!(is_unknown, "at the {time} submit that panics it answers {answer:?}");
    }
    doomed.capabilities()?;
    Ok(())
}
