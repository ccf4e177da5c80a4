//! The lead in a world of obedient or disobedient nodes and backends, on a clock that the test moves.

mod bookings;
mod failing;
mod journal;
mod loop_closed;
mod membership;
mod planning;
mod random;
mod recurring;
mod relaying;
mod resizing;
mod restoring;
mod shadow;
mod stepping;
mod swap;
mod world;
