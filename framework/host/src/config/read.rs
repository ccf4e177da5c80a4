//! From a parsed document to a [`Config`]: every table in turn, then what must fit together.

use std::time::Duration;

use vreserve_model::duration;

use super::instances::{adapt, captures, infer, links, reserves, static_links};
use super::node::node;
use super::section::{Entry, Notes, Section};
use super::suggest::{did_you_mean, quoted_list};
use super::types::{Config, LeadConfig, LinkConfig};

/// Bounds of the lead's waits.
const LEAD_WAIT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));

/// How long ahead windows are booked for demand that recurs, and its bounds: the day before must be over.
const AHEAD: Duration = Duration::from_secs(6 * 3600);
const AHEAD_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(23 * 3600));

/// Reads the document; none if anything was noted.
pub(super) fn config(notes: &Notes<'_>, mut root: Section<'_>) -> Option<Config> {
    let node = node(&mut root);
    let plugin_dirs = plugin_dirs(&mut root);
    let captures = captures(&mut root);
    let links = links(&mut root);
    let infer = infer(&mut root);
    let adapt = adapt(&mut root, node.is_proxy);
    let reserves = reserves(&mut root, node.is_proxy);
    let static_links = static_links(&mut root, &links);
    let lead = lead(&mut root, node.is_proxy);
    // Endpoints that could not be read would be missed here, and blamed on the star.
    let is_clean = notes.errors.borrow().is_empty();
    let star = if is_clean { star(&root, node.star.as_ref(), &links) } else { None };
    root.finish();
    if !notes.errors.borrow().is_empty() {
        return None;
    }
    let mut node = node.config?;
    node.star = star?;
    let source = notes.source.clone();
    Some(Config {
        node,
        plugin_dirs,
        captures,
        links,
        infer: infer?,
        adapt,
        reserves,
        static_links,
        lead: lead?,
        source,
    })
}

pub(super) fn plugin_dirs(root: &mut Section<'_>) -> Vec<std::path::PathBuf> {
    let Some(mut plugins) = root.section("plugins") else { return Vec::new() };
    let dirs = plugins.entry("dirs").map_or_else(Vec::new, |dirs| dirs.elements());
    plugins.finish();
    dirs.iter().filter_map(Entry::path).collect()
}

pub(super) fn lead(root: &mut Section<'_>, is_proxy: Option<bool>) -> Option<LeadConfig> {
    let defaults = LeadConfig {
        retry_min: Duration::from_secs(2),
        retry_max: Duration::from_secs(60),
        reserve_timeout: Duration::from_secs(120),
        restore_grace: Duration::from_secs(15),
        orphan_grace: Duration::from_secs(30),
        list_every: Duration::from_secs(30),
        shadow: false,
        recurring: None,
    };
    let Some(mut section) = root.section("lead") else { return Some(defaults) };
    if is_proxy == Some(false) {
        refuse_on_node(&section);
    }
    let retry_min = wait(&mut section, "retry_min", defaults.retry_min, LEAD_WAIT);
    let retry_max = wait(&mut section, "retry_max", defaults.retry_max, LEAD_WAIT);
    let reserve_timeout = wait(&mut section, "reserve_timeout", defaults.reserve_timeout, LEAD_WAIT);
    let restore_grace = wait(&mut section, "restore_grace", defaults.restore_grace, LEAD_WAIT);
    let orphan_grace = wait(&mut section, "orphan_grace", defaults.orphan_grace, LEAD_WAIT);
    let list_every = wait(&mut section, "list_every", defaults.list_every, LEAD_WAIT);
    let shadow = section.entry("shadow").map_or(Some(defaults.shadow), |entry| entry.flag());
    let is_recurring = section.entry("recurring").map_or(Some(false), |entry| entry.flag());
    let ahead = section.entry("recurring_ahead");
    if let (Some(ahead), Some(false)) = (&ahead, is_recurring) {
        ahead
            .note("means nothing without recurring", Some("add recurring = true or leave it out".to_owned()));
    }
    let recurring_ahead = within(ahead, AHEAD, AHEAD_BOUNDS);
    if retry_max < retry_min {
        section.note("retry_max is below retry_min", Some("swap them or leave one out".to_owned()));
    }
    section.finish();
    Some(LeadConfig {
        retry_min: retry_min?,
        retry_max: retry_max?,
        reserve_timeout: reserve_timeout?,
        restore_grace: restore_grace?,
        orphan_grace: orphan_grace?,
        list_every: list_every?,
        shadow: shadow?,
        recurring: Some(recurring_ahead?).filter(|_| is_recurring == Some(true)),
    })
}

/// Notes that a table has no meaning here: only the lead reads it.
pub(super) fn refuse_on_node(section: &Section<'_>) {
    section.note("only the proxy reads this table", Some("move it to the proxy's configuration".to_owned()));
}

/// The endpoint of the star: the one that is named, or the only one on the commodity network.
fn star(root: &Section<'_>, named: Option<&Entry<'_>>, links: &[LinkConfig]) -> Option<String> {
    let commodity = links.iter().filter(|link| link.network.is_none());
    let commodity: Vec<_> = commodity.map(|link| link.instance.name.as_str()).collect();
    if let Some(entry) = named {
        return named_star(entry, links, &commodity);
    }
    match commodity[..] {
        [only] => Some(only.to_owned()),
        [] => {
            let hint = "add [link.<name>] with use = \"link-udp\" and no network";
            root.note("no endpoint for the star to the proxy", Some(hint.to_owned()));
            None
        }
        _ => {
            let hint = format!("name one in [node], such as star = {:?}", commodity[0]);
            let names = quoted_list(&commodity);
            root.note(format!("several endpoints could carry the star: {names}"), Some(hint));
            None
        }
    }
}

fn named_star(entry: &Entry<'_>, links: &[LinkConfig], commodity: &[&str]) -> Option<String> {
    let star = entry.text()?;
    let Some(link) = links.iter().find(|link| link.instance.name == star) else {
        entry.note(format!("there is no [link.{star}]"), one_of(star, commodity));
        return None;
    };
    if link.network.is_some() {
        let message = format!("[link.{star}] is reservable; the star needs an endpoint without network");
        entry.note(message, one_of(star, commodity));
    }
    Some(star.to_owned())
}

/// The nearest of `names`, or all of them.
pub(super) fn one_of(name: &str, names: &[&str]) -> Option<String> {
    let all = (!names.is_empty()).then(|| format!("there are {}", quoted_list(names)));
    did_you_mean(name, names.iter().copied()).or(all)
}

/// Reads a name: of a node, an instance, a network.
pub(super) fn name(entry: &Entry<'_>) -> Option<String> {
    entry.read(|text| check_name(text).map(|()| text.to_owned()))
}

/// Whether `text` can be a name; instances' names also become directories.
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= 64 && text.chars().all(is_allowed) {
        return Ok(());
    }
    let rule = "1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit";
    Err(format!("{text:.80?} is not a name: expected {rule}"))
}

/// Reads a duration within bounds.
pub(super) fn wait(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    bounds: (Duration, Duration),
) -> Option<Duration> {
    within(section.entry(key), default, bounds)
}

fn within(entry: Option<Entry<'_>>, default: Duration, (min, max): (Duration, Duration)) -> Option<Duration> {
    let Some(entry) = entry else { return Some(default) };
    entry.read(|text| {
        let wait = duration::parse(text).map_err(|error| format!("{text:?} is {error}"))?;
        if (min..=max).contains(&wait) {
            return Ok(wait);
        }
        Err(format!("{text} is out of range: {} to {}", duration::format(min), duration::format(max)))
    })
}
