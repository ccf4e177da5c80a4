//! VRESERVE plugin capture-iouring.
