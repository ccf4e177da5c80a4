//! `inference topology [rounds]` and `inference cost [rounds]`: how well patterns are recognised, and what merging,
//! inferring and planning cost, as JSON on standard output. `cargo xtask bench` reads it.

#[path = "../lookup/allocations.rs"]
mod allocations;
mod cost;
mod random;
mod topology;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next();
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let found = match what.as_deref() {
        Some("topology") => topology::run(rounds),
        Some("cost") => cost::run(rounds),
        _ => {
            eprintln!("inference: topology or cost?");
            return ExitCode::from(2);
        }
    };
    println!("{found:#}");
    ExitCode::SUCCESS
}
