//! VRESERVE plugin adapt-vadapt.
