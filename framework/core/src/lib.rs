//! The pure core: frames, rules, cache, matrix, overlay, plan, reservations; no I/O, no clock.
