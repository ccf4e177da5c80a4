//! The kit for reservation plugins, with a shell script that keeps paths in the client's place. Alone in its process:
//! it counts descriptors, threads and memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::Site;
use serde_json::{Value, json};
use vreserve_sdk::conformance::{Provider, Surroundings, drop_at_every_await_point, reserve};
use vreserve_sdk::model::Request;

/// Keeps each path as a file of its number; hangs while there is a file `hang`.
const KEEPS: &str = r#"mkdir -p $DIR/paths
[ -e $DIR/hang ] && sleep 1000
case $1 in
-c) id=$(($(cat $DIR/last 2>/dev/null || echo 100) + 1)); echo $id > $DIR/last
    echo "path $id up $2 $3 lambda $4 via s1 s2" > $DIR/paths/$id
    echo "path $id up"; echo "source $2"; echo "destination $3"; echo "lambda $4"; echo "switches s1 s2";;
-t) [ -e $DIR/paths/$2 ] || { echo "oclient: refused: no-such-path: there is no path $2" >&2; exit 4; }
    rm $DIR/paths/$2; echo "path $2 down";;
esac"#;

/// An ODIN of this site's own.
struct Odin(Site);

impl Odin {
    fn new() -> Self {
        let site = Site::new(KEEPS);
        fs::create_dir(site.path("paths")).unwrap();
        Odin(site)
    }
}

impl Surroundings for Odin {
    fn config(&self, _: u32) -> Result<Value, String> {
        let paths = self.0.path("paths");
        let list = format!("cat {}/* 2>/dev/null; :", paths.display());
        Ok(json!({
            "client": self.0.path("oclient"),
            "timeout": 2,
            "settle_time": 0.1,
            "list": ["/bin/sh", "-c", list],
        }))
    }

    fn request(&self, number: u32) -> Result<Request, String> {
        let (a, z) = (format!("10.10.0.{number}"), format!("10.10.1.{number}"));
        serde_json::from_value(common::request("", &a, &z)).map_err(|error| error.to_string())
    }

    fn held(&self) -> Result<usize, String> {
        Ok(fs::read_dir(self.0.path("paths")).unwrap().count())
    }

    fn set_provider(&self, provider: Provider) -> Result<(), String> {
        let (client, away, hang) = (self.0.path("oclient"), self.0.path("away"), self.0.path("hang"));
        match provider {
            Provider::Answers => {
                drop(fs::remove_file(hang));
                drop(fs::rename(away, client));
            }
            Provider::Hangs => fs::write(hang, "").unwrap(),
            Provider::Gone => fs::rename(client, away).unwrap(),
        }
        Ok(())
    }
}

#[test]
fn it_conforms() {
    reserve(vreserve_reserve_odin::plugin(), Odin::new()).assert();
    drop_at_every_await_point::<vreserve_reserve_odin::OdinReserve>(&Odin::new());
}
