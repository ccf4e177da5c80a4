//! A world that stands until it is killed, for the test that kills it.

use std::time::Duration;

use vreserve_tests::{PAIR, Setup, World};

fn main() {
    let name = std::env::args().nth(1).expect("the lab's name is the argument");
    let world = World::start(&Setup { lab: PAIR.to_owned(), name: Some(name), ..Setup::default() });
    println!("{}", world.dir().display());
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
