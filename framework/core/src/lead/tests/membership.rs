//! The star, the guests, and ids across leads.

use super::world::*;
use crate::ids::LinkClass;
use crate::lead::*;

#[test]
fn every_node_has_one_star_link_that_both_ends_know_by_the_same_id() {
    let world = World::new(3);
    let hub = &world.applied["hub"];
    assert_eq!(hub.links.len(), 3);
    for link in &hub.links {
        let far = &world.applied[&link.far_node].links[0];
        assert_eq!((far.id, far.class, far.far_node.as_str()), (link.id, LinkClass::Star, "hub"));
        assert_eq!(far.far_address, "10.0.0.100:4789");
        assert_eq!(link.id.0 >> 32, 7, "ids carry the lead's epoch");
    }
}

#[test]
fn nodes_that_join_before_the_proxy_get_their_star_when_it_comes_and_anew_when_it_returns() {
    let mut world = World::empty();
    world.join("n1", NodeRole::Spoke, 1);
    world.run();
    assert!(world.applied["n1"].links.is_empty());
    world.join("hub", NodeRole::Proxy, 100);
    world.run();
    let first = world.applied["n1"].links[0].id;
    world.leave("hub");
    assert!(world.applied["n1"].links.is_empty());
    world.join("hub", NodeRole::Proxy, 100);
    world.run();
    assert!(world.applied["n1"].links[0].id > first);
}

#[test]
fn a_second_proxy_is_refused() {
    let mut world = World::new(1);
    world.story();
    world.lead.handle_node_joined(world.now, describe("hub2", NodeRole::Proxy, 101, &[]), key_of("hub2"));
    world.run();
    assert_eq!(world.story(), ["node_refused"]);
    assert_eq!(world.lead.nodes().count(), 2);
}

#[test]
fn every_directory_lists_each_remote_guest_at_its_latest_node() {
    let mut world = World::new(2);
    let star = |world: &World, node: &str| world.applied[node].links[0].id;
    let directory_of = |world: &World, node: &str| -> Vec<_> {
        world.applied[node].guests.iter().map(|way| (way.guest, way.link)).collect()
    };
    let directory = |world: &World| directory_of(world, "hub");
    assert_eq!(directory_of(&world, "n1"), [(mac(2), star(&world, "n1"))], "over its own star link");
    assert_eq!(directory(&world), [(mac(1), star(&world, "n1")), (mac(2), star(&world, "n2"))]);
    world.lead.handle_guests(world.now, "n2", &[mac(2), mac(1)]);
    world.run();
    assert_eq!(directory(&world), [(mac(1), star(&world, "n2")), (mac(2), star(&world, "n2"))]);
    world.lead.handle_guests(world.now, "hub", &[mac(9)]);
    world.run();
    assert_eq!(directory(&world).len(), 2, "the proxy's own guests are not remote");
    let at_n1 = [1, 2, 9].map(|guest| (mac(guest), star(&world, "n1")));
    assert_eq!(directory_of(&world, "n1"), at_n1);
    assert_eq!(directory_of(&world, "n2"), [(mac(9), star(&world, "n2"))]);
}

#[test]
fn a_guest_that_moves_away_leaves_the_circuit() {
    let mut world = World::new(3);
    world.want(&[(1, 2)]);
    assert_eq!((world.pairs_at("n1").len(), world.pairs_at("n2").len()), (1, 1));
    world.lead.handle_guests(world.now, "n3", &[mac(3), mac(2)]);
    world.run();
    assert_eq!((world.pairs_at("n1").len(), world.pairs_at("n2").len()), (0, 0));
}

#[test]
fn a_node_that_joins_again_is_sent_its_part_again_and_keeps_its_circuits() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let before = world.applied["n1"].clone();
    world.join("n1", NodeRole::Spoke, 1);
    world.run();
    let after = world.applied["n1"].clone();
    assert!(after.revision > before.revision);
    assert_eq!((after.links, after.pairs), (before.links, before.pairs));
    world.join("n1", NodeRole::Spoke, 77);
    world.lead.handle_guests(world.now, "n1", &[mac(1)]);
    world.run();
    assert_eq!(world.phases(), [Phase::Carrying], "with other endpoints it is another node");
    assert_eq!(world.keys.len(), 2);
}

#[test]
fn both_ends_of_every_link_are_told_the_key_that_the_other_proved() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    for (node, part) in &world.applied {
        assert_eq!(part.links.len(), 2, "{node} has two links");
        for link in &part.links {
            assert_eq!(link.far_key, key_of(&link.far_node), "{node} to {}", link.far_node);
        }
    }
}

#[test]
fn a_node_that_comes_back_with_another_key_is_another_node() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let fresh = key_of("new");
    world.lead.handle_node_joined(world.now, describe("n1", NodeRole::Spoke, 1, &[NET]), fresh);
    world.lead.handle_guests(world.now, "n1", &[mac(1)]);
    world.run();
    assert_eq!(world.keys.len(), 2, "its circuit was given back and asked for anew");
    let to_n1 = world.applied["n2"].links.iter().chain(&world.applied["hub"].links);
    let keys: Vec<_> = to_n1.filter(|link| link.far_node == "n1").map(|link| link.far_key).collect();
    assert_eq!(keys, [fresh, fresh], "nobody keeps a link to the old key");
}

#[test]
fn endpoint_addresses_lose_their_port_and_nothing_else() {
    for (address, bare) in [
        ("10.10.0.1:4789", "10.10.0.1"),
        ("[fd00::1]:4789", "fd00::1"),
        ("host.example:4789", "host.example"),
        ("urn:ogf:network:a.net:2013:p1", "urn:ogf:network:a.net:2013:p1"),
        ("10.10.0.1", "10.10.0.1"),
        ("fd00::1", "fd00::1"),
    ] {
        let attachment = Attachment { endpoint: "e".into(), address: address.into() };
        assert_eq!(attachment.bare_address(), bare);
    }
}
