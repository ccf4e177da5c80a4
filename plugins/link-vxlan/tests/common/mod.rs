//! What the tests of this plugin share: a host of nothing but counters, and network namespaces that go away with the test.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod frames;
pub(crate) mod host;
pub(crate) mod netns;
