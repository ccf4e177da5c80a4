//! The lab in network namespaces, and the reservation services that stand in for a network.
