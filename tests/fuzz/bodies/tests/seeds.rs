//! Every target over its seeds, as they are and cut short anywhere.

use std::path::Path;

use vreserve_fuzz_bodies::TARGETS;

#[test]
fn every_target_stands_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for (name, body) in TARGETS {
        let files = std::fs::read_dir(seeds.join(name)).expect("every target has a folder of seeds");
        let mut count = 0;
        for file in files {
            let path = file.expect("the folder can be read").path();
            println!("{}", path.display());
            let bytes = std::fs::read(&path).expect("a seed can be read");
            body(&bytes);
            (0..bytes.len().min(300)).for_each(|len| body(&bytes[..len]));
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}
