//! VRESERVE plugin reserve-odin.
