//! VRESERVE plugin link-udp.
