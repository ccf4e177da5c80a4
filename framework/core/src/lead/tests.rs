//! The lead in a world of obedient or disobedient nodes and backends, on a clock that the test moves.

mod failing;
mod loop_closed;
mod membership;
mod planning;
mod random;
mod swap;
mod world;
