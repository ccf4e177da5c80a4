//! The page and the JSON document.

use roxmltree::{Document, ParsingOptions};

use super::*;

/// The page, which is XML too.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).expect("the page is well-formed")
}

fn busy() -> Vec<u8> {
    let mut file = PcapFile::new();
    burst(&mut file, (10, 40), 80, 1, 2);
    murmur(&mut file, 60);
    file.sorted()
}

#[test]
fn a_page_has_all_plots_and_needs_nothing_else() {
    let report = replayed(busy(), OVERLAY).expect("it is replayed");
    let page = report.to_html();
    let document = parsed(&page);
    let elements: Vec<_> = document.descendants().filter(|node| node.is_element()).collect();
    let pictures = elements.iter().filter(|node| node.tag_name().name() == "svg").count();
    assert_eq!(pictures, 4);
    for node in &elements {
        assert!(!["script", "link", "img", "iframe", "object"].contains(&node.tag_name().name()));
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && !["href", "src"].contains(&name), "{name}");
        }
    }
    let text: String = document.descendants().filter_map(|node| node.text()).collect();
    for part in ["a - b", "02:00:00:00:00:01", "omninet", "being set up", "1 reservation would have carried"]
    {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn hostile_names_are_text_in_the_page() {
    const NAME: &str = "</title><script>alert('1')</script>\u{1}\u{202e}&amp;\".pcap";
    let mut report = replayed_as(NAME, busy(), OVERLAY).expect("it is replayed");
    report.notes.push("<img src=x onerror=alert(1)>".to_owned());
    report.reservations[0].reason = "<b onclick='x'>\u{0}".to_owned();
    report.reservations[0].link.a = "\"><script>".to_owned();
    report.overlay.nodes[0].name = "<svg onload=x>".to_owned();
    report.capture.damage = Some("<!-- ".to_owned());
    let page = report.to_html();
    let document = parsed(&page);
    let is_bad = |node: &roxmltree::Node<'_, '_>| ["script", "img", "b"].contains(&node.tag_name().name());
    assert!(!document.descendants().any(|node| is_bad(&node)));
    let title = document.descendants().find(|node| node.tag_name().name() == "title").expect("a title");
    assert_eq!(
        title.text(),
        Some("Replay of </title><script>alert('1')</script>\u{fffd}\u{fffd}&amp;\".pcap")
    );
    let text: String = document.descendants().filter_map(|node| node.text()).collect();
    assert!(text.contains("<img src=x onerror=alert(1)>"));
}

#[test]
fn a_page_of_an_empty_capture_says_so() {
    let report = replayed(PcapFile::new().bytes(), OVERLAY).expect("it is replayed");
    let page = report.to_html();
    let text: String = parsed(&page).descendants().filter_map(|node| node.text()).collect();
    assert!(text.contains("Nothing would have been reserved."), "{text}");
}

#[test]
fn the_document_has_times_in_seconds() {
    let report = replayed(busy(), OVERLAY).expect("it is replayed");
    let document = serde_json::to_value(&report).expect("a report is plain data");
    let one = &document["reservations"][0];
    assert_eq!((&one["a"], &one["z"], &one["network"]), (&"a".into(), &"b".into(), &"omninet".into()));
    for key in ["wanted_at_s", "asked_at_s", "active_at_s", "carrying_at_s", "ending_at_s", "released_at_s"] {
        assert!(one[key].as_f64().is_some_and(|at| at > 10.0 && at < 60.0), "{key}: {one}");
    }
    assert_eq!(document["capture"]["format"], "pcap");
    assert_eq!(document["topology"]["pattern"], "pairs");
    assert!(document["capture"]["damage"].is_null());
}
