//! The overlay as a picture: nodes on a circle around the proxy, what they sent each other when demand was largest, and
//! the circuits that would have been.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::{self, Write};

use vreserve_model::{MacAddr, link_key};

use super::super::report::Report;
use super::super::{At, BitRate};
use super::Escaped;
use super::plot::{self, WIDTH};

/// Nodes in the picture, those with the most traffic.
const MAX_NODES: usize = 48;
const HEIGHT: f64 = 440.0;
const RADIUS: f64 = 165.0;
const CENTRE: (f64, f64) = (WIDTH / 2.0, HEIGHT / 2.0);

type Point = (f64, f64);

pub(super) fn draw(out: &mut String, report: &Report) -> fmt::Result {
    let demands = between_nodes(report);
    let points = places(report, &demands);
    plot::open(out, HEIGHT, "nodes, demand and circuits")?;
    if let Some(hub) = points.get(report.overlay.proxy.as_str()) {
        for point in points.values() {
            plot::line(out, "grid", *hub, *point)?;
        }
    }
    for one in &report.reservations {
        let ends = points.get(one.link.a.as_str()).zip(points.get(one.link.z.as_str()));
        if let Some((a, z)) = ends {
            edge(out, ("circuit", 0.35, 12.0), *a, *z, &format!("circuit {} - {}", one.link.a, one.link.z))?;
        }
    }
    let largest = demands.values().fold(1.0, |most: f64, rate| most.max(*rate));
    for ((a, z), rate) in &demands {
        let Some((from, to)) = points.get(a.as_str()).zip(points.get(z.as_str())) else { continue };
        let width = 1.0 + 4.0 * rate / largest;
        edge(out, ("star", 0.9, width), *from, *to, &format!("{a} - {z}: {}", BitRate(*rate)))?;
    }
    for (name, (x, y)) in &points {
        let (name, text_y) = (Escaped(name), y + 22.0);
        writeln!(
            out,
            "<circle fill=\"var(--ink)\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"><title>{name}</title></circle>"
        )?;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{text_y:.1}\" text-anchor=\"middle\">{name}</text>")?;
    }
    out.push_str("</svg>\n<p class=\"key faint\"><i style=\"background: var(--star)\"></i>demand");
    out.push_str("<i style=\"background: var(--circuit)\"></i>circuits at any time");
    let topology = &report.topology;
    writeln!(out, ". {} of {} edges, {} in.</p>", topology.pattern, topology.edges.len(), At(topology.at))
}

/// The demand of each pair of nodes, both ways together, in bits per second.
fn between_nodes(report: &Report) -> BTreeMap<(String, String), f64> {
    let mut node_of: BTreeMap<MacAddr, &str> = BTreeMap::new();
    for pair in &report.pairs {
        node_of.insert(pair.source, &pair.from);
        node_of.extend(pair.to.as_deref().map(|to| (pair.destination, to)));
    }
    let mut demands = BTreeMap::new();
    for demand in &report.topology.edges {
        let ends = node_of.get(&demand.source).zip(node_of.get(&demand.destination));
        if let Some((from, to)) = ends.filter(|(from, to)| from != to) {
            let (a, z) = link_key(from, to);
            *demands.entry((a.to_owned(), z.to_owned())).or_insert(0.0) += demand.rate.0 as f64;
        }
    }
    demands
}

/// The proxy in the middle if it has no guests, the others around it.
fn places<'a>(report: &'a Report, demands: &BTreeMap<(String, String), f64>) -> BTreeMap<&'a str, Point> {
    let busy = |name: &str| {
        let own = demands.iter().filter(|((a, z), _)| a == name || z == name);
        own.map(|(_, rate)| *rate as u64).fold(0, u64::saturating_add)
    };
    let proxy = report.overlay.proxy.as_str();
    let is_hub = |node: &&super::super::NodeFacts| node.name == proxy && node.guests == 0;
    let mut around: Vec<&str> =
        report.overlay.nodes.iter().filter(|node| !is_hub(node)).map(|node| node.name.as_str()).collect();
    around.sort_by_key(|name| (std::cmp::Reverse(busy(name)), *name));
    around.truncate(MAX_NODES);
    around.sort_unstable();
    let on_circle = |index: usize| {
        let angle = TAU * index as f64 / around.len() as f64 - TAU / 4.0;
        (CENTRE.0 + RADIUS * 1.6 * angle.cos(), CENTRE.1 + RADIUS * angle.sin())
    };
    let mut points: BTreeMap<&str, Point> =
        around.iter().enumerate().map(|(index, name)| (*name, on_circle(index))).collect();
    points.entry(proxy).or_insert(CENTRE);
    points
}

fn edge(
    out: &mut String,
    (colour, opacity, width): (&str, f64, f64),
    from: Point,
    to: Point,
    what: &str,
) -> fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(
        out,
        "<line stroke=\"var(--{colour})\" stroke-opacity=\"{opacity}\" stroke-width=\"{width:.1}\" \
         stroke-linecap=\"round\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"><title>{}</title></line>",
        Escaped(what)
    )
}
