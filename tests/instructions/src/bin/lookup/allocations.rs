//! An allocator that counts, so that "no allocation per frame" and "no more than so much memory" are numbers.
#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);

/// Allocations so far, every growth of one among them.
pub(crate) fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Octets that are allocated now.
pub(crate) fn held() -> u64 {
    HELD.load(Relaxed)
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract. `realloc` and
// `alloc_zeroed` are the trait's own, made of these two, so that they are counted as well.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the pointer came from `System` through `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
