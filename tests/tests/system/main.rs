//! Whole-daemon scenarios on real namespaces, one module each, in one program: each program of its own would be linked
//! with everything once more.
#![allow(clippy::unwrap_used, reason = "tests")]

mod abi_compat;
mod admission;
mod all_to_all;
mod bad_config;
mod booking;
mod capture_pcap;
mod capture_veth;
mod exec;
mod fallback;
mod faults;
mod gara;
mod guide;
mod hostile;
mod interface_changes;
mod lab_cleanup;
mod lightpath;
mod path_mtu;
mod plugins;
mod relaying;
mod reload;
mod secure_star;
mod shadow;
mod star;
mod swap;
mod swap_kind;
mod takeover;
mod tcp_star;
mod vxlan_peer;
mod workers;
