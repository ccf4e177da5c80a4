//! Every call through a plugin's C tables. Nothing else in this folder calls into a plugin.
//!
//! The values here own one opened instance each and close it when dropped. They are made from a
//! [`PluginRef`] only, which the loader vouches for: its layout has been checked and its library stays
//! loaded. They are `Send` because the ABI allows an instance to move between threads between calls, and
//! (but for [`ReserveCalls`]) not `Sync`.
#![allow(unsafe_code, reason = "calls the C functions of plugins")]

use vreserve_abi::{
    AdaptTableRef, Batch, Cell, DemandRecord, FfiFuture, InferTableRef, PluginFailure, PluginRef, RResult,
    RSlice, RStr, RString, RVec, RawTopology, ReserveTableRef, Slot,
};
use vreserve_model::Failure;

use super::InstanceHost;
use super::documents::answer;

/// A capture or link instance: what both kinds do with frames, and what only links do.
pub(super) struct Port {
    instance: *mut (),
    recv: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    send: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    ready_fd: unsafe extern "C" fn(*mut ()) -> i32,
    describe: unsafe extern "C" fn(*mut ()) -> RString,
    close: unsafe extern "C" fn(*mut ()),
}

/// What only links do.
#[derive(Clone, Copy)]
pub(super) struct FarCalls {
    add_far: unsafe extern "C" fn(*mut (), u32, RStr<'_>, RSlice<'_, u8>) -> RResult<(), PluginFailure>,
    remove_far: unsafe extern "C" fn(*mut (), u32),
}

/// An inference instance.
pub(super) struct InferCalls {
    instance: *mut (),
    table: InferTableRef,
}

/// An adaptation instance.
pub(super) struct AdaptCalls {
    instance: *mut (),
    table: AdaptTableRef,
}

/// A reservation instance.
pub(super) struct ReserveCalls {
    instance: *const (),
    table: ReserveTableRef,
}

// SAFETY: the ABI lets a capture or link instance move between threads between calls.
unsafe impl Send for Port {}
// SAFETY: as for `Port`.
unsafe impl Send for InferCalls {}
// SAFETY: as for `Port`.
unsafe impl Send for AdaptCalls {}
// SAFETY: as for `Port`.
unsafe impl Send for ReserveCalls {}
// SAFETY: the ABI lets a reserve instance be called from any thread at once.
unsafe impl Sync for ReserveCalls {}

impl Port {
    pub(super) fn open_capture(
        plugin: PluginRef,
        host: &InstanceHost,
        settings: &str,
    ) -> Result<Self, Failure> {
        let raw = answer(plugin.open_capture()(host.context(), settings.into()))?;
        Ok(Port {
            instance: raw.instance,
            recv: raw.table.recv(),
            send: raw.table.send(),
            ready_fd: raw.table.ready_fd(),
            describe: raw.table.describe(),
            close: raw.table.close(),
        })
    }

    pub(super) fn open_link(
        plugin: PluginRef,
        host: &InstanceHost,
        settings: &str,
    ) -> Result<(Self, FarCalls), Failure> {
        let raw = answer(plugin.open_link()(host.context(), settings.into()))?;
        let port = Port {
            instance: raw.instance,
            recv: raw.table.recv(),
            send: raw.table.send(),
            ready_fd: raw.table.ready_fd(),
            describe: raw.table.describe(),
            close: raw.table.close(),
        };
        Ok((port, FarCalls { add_far: raw.table.add_far(), remove_far: raw.table.remove_far() }))
    }

    /// The slots have passed [`SlotGuard`](super::slots::SlotGuard), which counts at most `u32::MAX` of them.
    pub(super) fn recv(&mut self, slots: &mut [Slot]) -> Batch {
        // SAFETY: the instance is open; each slot's memory lies in the instance's pool, whose owner
        // promises that it is valid and this call's alone (`PoolRegion::new`).
        unsafe { (self.recv)(self.instance, slots.as_mut_ptr(), slots.len() as u32) }
    }

    /// As [`recv`](Self::recv).
    pub(super) fn send(&mut self, slots: &mut [Slot]) -> Batch {
        // SAFETY: as in `recv`.
        unsafe { (self.send)(self.instance, slots.as_mut_ptr(), slots.len() as u32) }
    }

    pub(super) fn ready_fd(&self) -> i32 {
        // SAFETY: the instance is open, and not `Sync`: no other call is in flight.
        unsafe { (self.ready_fd)(self.instance) }
    }

    pub(super) fn describe(&self) -> RString {
        // SAFETY: as in `ready_fd`.
        unsafe { (self.describe)(self.instance) }
    }

    pub(super) fn add_far(
        &mut self,
        calls: FarCalls,
        far: u32,
        address: &str,
        key: Option<&[u8; 32]>,
    ) -> Result<(), Failure> {
        let key = key.map_or(&[][..], |key| key.as_slice());
        // SAFETY: the instance is open, and `calls` came with it.
        answer(unsafe { (calls.add_far)(self.instance, far, address.into(), key.into()) })
    }

    pub(super) fn remove_far(&mut self, calls: FarCalls, far: u32) {
        // SAFETY: as in `add_far`.
        unsafe { (calls.remove_far)(self.instance, far) }
    }
}

impl InferCalls {
    pub(super) fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let raw = answer(plugin.open_infer()(host.context(), settings.into()))?;
        Ok(InferCalls { instance: raw.instance, table: raw.table })
    }

    pub(super) fn observe(&mut self, now: u64, cells: &[Cell]) -> Result<RVec<u8>, Failure> {
        // SAFETY: the instance is open, and `&mut self` makes this its only call.
        answer(unsafe { self.table.observe()(self.instance, now, cells.into()) })
    }

    pub(super) fn merge(&mut self, now: u64, node: &str, report: &[u8]) -> Result<(), Failure> {
        // SAFETY: as in `observe`.
        answer(unsafe { self.table.merge()(self.instance, now, node.into(), report.into()) })
    }

    pub(super) fn infer(&mut self, now: u64) -> Result<RawTopology, Failure> {
        // SAFETY: as in `observe`.
        answer(unsafe { self.table.infer()(self.instance, now) })
    }
}

impl AdaptCalls {
    pub(super) fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let raw = answer(plugin.open_adapt()(host.context(), settings.into()))?;
        Ok(AdaptCalls { instance: raw.instance, table: raw.table })
    }

    pub(super) fn adapt(&mut self, snapshot: &str, demands: &[DemandRecord]) -> Result<RString, Failure> {
        // SAFETY: the instance is open, and `&mut self` makes this its only call.
        answer(unsafe { self.table.adapt()(self.instance, snapshot.into(), demands.into()) })
    }
}

impl ReserveCalls {
    pub(super) fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let raw = answer(plugin.open_reserve()(host.context(), settings.into()))?;
        Ok(ReserveCalls { instance: raw.instance, table: raw.table })
    }

    pub(super) fn capabilities(&self) -> RString {
        // SAFETY: the instance is open; it may be called from any thread.
        unsafe { self.table.capabilities()(self.instance) }
    }

    /// The future must not outlive `self`: hold both in one value, the future dropped first.
    pub(super) fn call(&self, verb: &str, document: &str) -> FfiFuture<RResult<RString, PluginFailure>> {
        // SAFETY: as in `capabilities`; the plugin copies both texts before it returns.
        unsafe { self.table.call()(self.instance, verb.into(), document.into()) }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: the instance is open until here, and this is its last call.
        unsafe { (self.close)(self.instance) }
    }
}

impl Drop for InferCalls {
    fn drop(&mut self) {
        // SAFETY: as for `Port`.
        unsafe { self.table.close()(self.instance) }
    }
}

impl Drop for AdaptCalls {
    fn drop(&mut self) {
        // SAFETY: as for `Port`.
        unsafe { self.table.close()(self.instance) }
    }
}

impl Drop for ReserveCalls {
    fn drop(&mut self) {
        // SAFETY: as for `Port`; calls hold the instance, so none is in flight.
        unsafe { self.table.close()(self.instance) }
    }
}
