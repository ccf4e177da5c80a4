//! VRESERVE plugin infer-vttif.
