//! The `vreserve` program: see [`vreserve::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vreserve::cli::main()
}
