//! `abi [rounds]`: what the plugin boundary costs per frame, as JSON on standard output: one plugin linked into this program
//! and the same as a shared object, both through the host as its workers call them, and the same work without a
//! plugin. In slices of a fraction of a millisecond, in turn, every other time in the other order, so that what disturbs
//! the machine disturbs all alike; a round's figure is the median of its slices.
#![allow(unsafe_code, reason = "slots are raw memory, which a plugin reads and fills")]

#[allow(unreachable_pub, reason = "as a shared object of its own it exports these")]
#[path = "../../../examples/abi_plugin.rs"]
mod plugin;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use vreserve::config::Instance;
use vreserve::loader::Registry;
use vreserve::plugin::{HostServices, LinkInstance, PluginKind, PoolRegion};
use vreserve_abi::{Offload, Pool, Slot};

const PLUGIN: &str = "abi-plugin";
const BATCHES: [usize; 4] = [1, 8, 32, 64];
const SLOT: usize = 2048;
const SLOTS: usize = 64;
const HEADROOM: u32 = 256;
const FRAME: u32 = 64;
/// Of each subject in a round.
const SLICES: usize = 51;
/// Frames of a slice.
const SLICE: usize = 1 << 16;

/// Which way frames go.
#[derive(Clone, Copy)]
enum Call {
    Send,
    Recv,
}

/// What is compared.
struct Subjects {
    linked: LinkInstance,
    shared: LinkInstance,
    slots: Vec<Slot>,
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut subjects = Subjects::open();
    let rounds: Vec<Value> = (0..rounds).map(|_| round(&mut subjects)).collect();
    println!("{:#}", json!({ "rounds": rounds }));
}

fn round(subjects: &mut Subjects) -> Value {
    let mut cells = Vec::new();
    for (call, name) in [(Call::Send, "send"), (Call::Recv, "recv")] {
        for batch in BATCHES {
            let [bare, linked, shared] = subjects.measure(call, batch);
            cells.push(json!({
                "call": name, "batch": batch, "bare_ns": bare, "linked_ns": linked, "shared_ns": shared,
            }));
        }
    }
    json!({ "cells": cells })
}

impl Subjects {
    fn open() -> Self {
        let memory = Box::leak(vec![0_u8; SLOT * SLOTS].into_boxed_slice());
        let base = memory.as_mut_ptr();
        // SAFETY: the memory is leaked, and the slots are in one call at a time.
        let pool = unsafe { PoolRegion::new(Pool { base, slot_size: SLOT, count: SLOTS, ..Pool::NONE }) };
        let services = HostServices::new("/nonexistent");
        let open = |registry: Registry, name: &str| {
            let host = services.instance(PluginKind::Link, name, Some(pool));
            registry.open_link(&instance(name), &host).expect("the plugin of this program opens anywhere")
        };
        let linked = Registry::new(Vec::new()).with_static(&[(PLUGIN, plugin::plugin())]);
        let shared = Registry::new(vec![examples()]);
        let slots = (0..SLOTS).map(|buffer| slot(base, buffer)).collect();
        Subjects { linked: open(linked, "linked"), shared: open(shared, "shared"), slots }
    }

    /// Nanoseconds per frame without a plugin, with the one linked in, and with the shared object.
    fn measure(&mut self, call: Call, batch: usize) -> [f64; 3] {
        let mut times = [const { Vec::new() }; 3];
        for slice in 0..SLICES {
            for nth in 0..3 {
                let subject = if slice % 2 == 0 { nth } else { 2 - nth };
                times[subject].push(self.slice(subject, call, &mut self.slots.clone()[..batch]));
            }
        }
        times.map(|mut slices| {
            slices.sort_unstable();
            slices[SLICES / 2] as f64 / SLICE as f64
        })
    }

    fn slice(&mut self, subject: usize, call: Call, slots: &mut [Slot]) -> u64 {
        let plugin = match subject {
            0 => return time(slots, bare(call)),
            1 => &mut self.linked,
            _ => &mut self.shared,
        };
        match call {
            Call::Send => time(slots, |slots| plugin.send(slots).expect("the plugin takes all")),
            Call::Recv => time(slots, |slots| plugin.recv(slots).expect("the plugin fills all")),
        }
    }
}

/// Nanoseconds of a slice, call by call.
fn time(slots: &mut [Slot], mut call: impl FnMut(&mut [Slot]) -> usize) -> u64 {
    let begun = Instant::now();
    for _ in 0..SLICE / slots.len() {
        assert_eq!(call(black_box(slots)), slots.len());
    }
    begun.elapsed().as_nanos() as u64
}

/// What the plugin does, by this program itself.
fn bare(call: Call) -> impl FnMut(&mut [Slot]) -> usize {
    move |slots| {
        let mut sum = 0_u64;
        for slot in slots.iter_mut() {
            // SAFETY: the slot's memory is this program's, and no call is under way.
            let first = unsafe { &mut *slot.base.add(slot.offset as usize) };
            match call {
                Call::Send => sum += u64::from(*first),
                Call::Recv => {
                    *first = 1;
                    slot.len = FRAME;
                }
            }
        }
        black_box(sum);
        slots.len()
    }
}

fn slot(base: *mut u8, buffer: usize) -> Slot {
    Slot {
        base: base.wrapping_add(buffer * SLOT),
        capacity: SLOT as u32,
        offset: HEADROOM,
        len: FRAME,
        far: 0,
        offload: Offload::default(),
        refusal: 0,
        buffer: buffer as u32,
        limit: 0,
    }
}

fn instance(name: &str) -> Instance {
    Instance {
        kind: PluginKind::Link,
        name: name.to_owned(),
        plugin: PLUGIN.to_owned(),
        path: None,
        required: true,
        sha256: None,
        settings: "{}".to_owned(),
    }
}

/// Where cargo puts examples: beside this program.
fn examples() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a file");
    own.parent().expect("a file is in a folder").join("examples")
}
