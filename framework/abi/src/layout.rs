//! The layout of everything that crosses the boundary, as text, held against what was recorded for this version of the
//! ABI (`layout-<major>.<minor>.txt` beside `src`): what changes it has to change the version.
//!
//! One block per type, made of the layout that plugins carry for the loader to check: tables of functions, records, and
//! the types of abi_stable and async-ffi in them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::PathBuf;

use abi_stable::StableAbi;
use abi_stable::type_layout::{TLData, TLField, TLFields, TLPrimitive, TypeLayout};

use crate::{ABI_VERSION, METADATA_SECTION, PluginRef, STATUS_OK, STATUS_PANICKED, SYMBOL_PREFIX};

/// Set, it has the test write down the layout of a version that has none on record.
const RECORD: &str = "VRESERVE_RECORD_LAYOUT";

/// The package of types that are listed first.
const OURS: &str = env!("CARGO_PKG_NAME");

fn listing() -> String {
    let mut text = format!(
        "Written by the tests of vreserve-abi (src/layout.rs), for 64 bits; functions are extern \"C\".\n\n\
         section {METADATA_SECTION}\nsymbol {SYMBOL_PREFIX}<name>\nstatus {STATUS_OK} ok\n\
         status {STATUS_PANICKED} panicked\n"
    );
    let mut blocks: Vec<_> = reachable().into_iter().map(block).collect();
    blocks.sort();
    blocks.dedup();
    blocks.iter().for_each(|(_, block)| write!(text, "\n{block}").expect("text can be written"));
    text
}

/// Every type that the root table leads to.
fn reachable() -> Vec<&'static TypeLayout> {
    let (mut found, mut ahead) = (Vec::new(), VecDeque::from([<PluginRef as StableAbi>::LAYOUT]));
    while let Some(layout) = ahead.pop_front() {
        if found.contains(&layout) {
            continue;
        }
        found.push(layout);
        ahead.extend(layout.shared_vars().type_layouts().iter().map(|of| of()));
    }
    found.retain(|layout| layout.size() > 0 && !matches!(layout.data(), TLData::Primitive(_)));
    found
}

/// Where a type stands in the listing (ours first, then by name), and what is listed of it.
fn block(layout: &'static TypeLayout) -> ((bool, String), String) {
    let name = name_of(layout);
    let (word, body) = match layout.data() {
        TLData::PrefixType(table) => (
            "table",
            format!("  {} of the first version\n{}", table.first_suffix_field, fields(table.fields)),
        ),
        TLData::Struct { fields: all } => ("record", fields(all)),
        TLData::Union { fields: all } => ("union", all.iter().map(|field| line(0, &field)).collect()),
        TLData::Enum(choice) => {
            let variants = choice.variant_names_iter().collect::<Vec<_>>().join(", ");
            let head = format!("  {variants} = {:?}, {:?}\n", choice.discriminants, layout.repr_attr());
            ("choice", choice.fields.iter().fold(head, |text, field| text + &line_of(&field)))
        }
        TLData::Primitive(_) | TLData::Opaque => ("opaque", String::new()),
    };
    let pointees = layout.phantom_fields().iter().map(|field| format!("  to {}\n", type_of(&field)));
    let (size, alignment) = (layout.size(), layout.alignment());
    let text = format!(
        "{word} {name}: {size} bytes, aligned to {alignment}\n{body}{}",
        pointees.collect::<String>()
    );
    ((layout.package().as_str() != OURS, name), text)
}

/// Fields in their order, each with its offset by the rules of C.
fn fields(fields: TLFields) -> String {
    let (mut text, mut offset) = (String::new(), 0_usize);
    for field in fields.iter() {
        offset = offset.next_multiple_of(field.layout().alignment());
        text += &line(offset, &field);
        offset += field.layout().size();
    }
    text
}

fn line(offset: usize, field: &TLField) -> String {
    format!("  {offset:>2}{}", line_of(field))
}

fn line_of(field: &TLField) -> String {
    format!("  {}: {}\n", field.name(), type_of(field))
}

/// The type of a field; of a function pointer, its signature.
fn type_of(field: &TLField) -> String {
    let Some(function) = field.function_range().get(0).filter(|_| field.is_function()) else {
        return name_of(field.layout());
    };
    let parameters: Vec<_> = function.param_type_layouts.iter().map(|of| name_of(of())).collect();
    let gives = function.return_type_layout().map_or(String::new(), |of| format!(" -> {}", name_of(of())));
    let is_unsafe = if function.fn_qualifs.is_unsafe() { "unsafe " } else { "" };
    format!("{is_unsafe}fn({}){gives}", parameters.join(", "))
}

/// A type's name with what it is generic over, lifetimes aside. abi_stable's own types do not say that: it is seen in
/// their variants and markers.
fn name_of(layout: &'static TypeLayout) -> String {
    let of_parameters = || layout.generics().type_params().iter().map(|of| name_of(of())).collect::<Vec<_>>();
    let parameters = match layout.data() {
        TLData::Primitive(TLPrimitive::ConstPtr) => return format!("*const {}", of_parameters().join(" ")),
        TLData::Primitive(TLPrimitive::MutPtr) => return format!("*mut {}", of_parameters().join(" ")),
        TLData::Primitive(TLPrimitive::SharedRef) => return format!("&{}", of_parameters().join(" ")),
        TLData::Primitive(TLPrimitive::MutRef) => return format!("&mut {}", of_parameters().join(" ")),
        TLData::Primitive(_) => return layout.full_type().to_string(),
        _ if !layout.generics().type_params().is_empty() => of_parameters(),
        TLData::Enum(choice) => choice.fields.iter().map(|field| name_of(field.layout())).collect(),
        TLData::Struct { fields } => {
            let markers = fields.iter().filter(|field| field.layout().name() == "PhantomData");
            let marked = markers.flat_map(|field| field.layout().phantom_fields().to_vec());
            let names =
                marked.map(|of| type_of(&of).trim_start_matches("&mut ").trim_start_matches('&').to_owned());
            names.filter(|name| name != "()").collect()
        }
        _ => Vec::new(),
    };
    if parameters.is_empty() {
        return layout.name().to_owned();
    }
    format!("{}<{}>", layout.name(), parameters.join(", "))
}

fn file(version: &str) -> PathBuf {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("layout-{major}.{minor}.txt"))
}

/// Blocks by their first line up to the colon: the first lines' rest, and the lines of the body.
fn blocks(listing: &str) -> BTreeMap<&str, (&str, Vec<&str>)> {
    listing.split("\n\n").map(parted).collect()
}

fn parted(block: &str) -> (&str, (&str, Vec<&str>)) {
    let mut lines = block.lines();
    let head = lines.next().unwrap_or_default();
    let (name, rest) = head.split_once(": ").unwrap_or((head, ""));
    (name, (rest, lines.collect()))
}

/// What of `older` is not as it was in `newer`: of a table, functions at its end may be new; of a version, whole types.
fn broken(older: &str, newer: &str) -> Vec<String> {
    let newer = blocks(newer);
    let is_kept = |name: &str, (head, body): &(&str, Vec<&str>)| {
        newer.get(name).is_some_and(|(new_head, new_body)| match name.starts_with("table ") {
            true => new_body.starts_with(body),
            false => (new_head, new_body) == (head, body),
        })
    };
    let all = blocks(older).into_iter();
    all.filter(|(name, block)| !is_kept(name, block)).map(|(name, _)| name.to_owned()).collect()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_layout_is_the_one_recorded_for_this_version() {
    let (now, file) = (listing(), file(ABI_VERSION));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if !file.exists() && std::env::var_os(RECORD).is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap_or_else(|_| {
        panic!(
            "ABI {ABI_VERSION} has no recorded layout: {RECORD}=1 cargo test -p {OURS} layout writes {name}"
        )
    });
    let changed = now.lines().zip(recorded.lines()).find(|(now, recorded)| now != recorded);
    assert!(
        now == recorded,
        "the layout of ABI {ABI_VERSION} is not the one in {name} (at {:?}): undo the change, or raise the version in \
         framework/abi/Cargo.toml (functions at the end of a table: the minor; all else: the major) and record it with \
         {RECORD}=1 cargo test -p {OURS} layout",
        changed.map_or("its end", |(now, _)| now.trim()),
    );
}

#[test]
fn a_later_minor_only_adds() {
    let (major, now) = (ABI_VERSION.split('.').next().unwrap_or_default(), listing());
    let all = (0..).map(|minor| file(&format!("{major}.{minor}")));
    let earlier = all.take_while(|earlier| *earlier != file(ABI_VERSION));
    for file in earlier {
        let recorded = std::fs::read_to_string(&file).unwrap();
        assert_eq!(broken(&recorded, &now), [""; 0], "since {}: the major has to be raised", file.display());
    }
}

#[test]
fn only_functions_at_the_end_of_a_table_and_new_types_break_nothing() {
    let older =
        "status 0 ok\n\ntable T: 16 bytes\n  0  a: fn()\n  8  b: fn()\n\nrecord R: 4 bytes\n  0  x: u32\n";
    let with = |from: &str, to: &str| broken(older, &older.replace(from, to));
    assert_eq!(with("b: fn()\n", "b: fn()\n  16  c: fn()\n"), [""; 0]);
    assert_eq!(broken(older, &format!("{older}\nrecord S: 1 bytes\n  0  y: u8\n")), [""; 0]);
    assert_eq!(with("a: fn()", "a: fn(u8)"), ["table T"]);
    assert_eq!(with("  0  a: fn()\n", ""), ["table T"]);
    assert_eq!(with("x: u32\n", "x: u32\n  4  y: u8\n"), ["record R"]);
    assert_eq!(with("4 bytes", "8 bytes"), ["record R"]);
    assert_eq!(with("status 0", "status 1"), ["status 0 ok"]);
    assert_eq!(with("record R", "record Q"), ["record R"]);
}
