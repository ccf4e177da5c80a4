//! What must be there before anything is built, and how programs are run. Next to nothing is needed to build it.

pub mod packages;
pub mod run;
