//! What client and server say. The types are in `vreserve-rsl`, module [`wire`](vreserve_rsl::wire), whose
//! documentation is the specification: the plugin `reserve-gara` speaks it without knowing the testbed.

pub use vreserve_rsl::wire::*;
