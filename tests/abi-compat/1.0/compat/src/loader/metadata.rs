//! What a plugin says of itself in a section of its file, read without running any of it.

use std::path::Path;

use object::elf::{ET_DYN, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Architecture, Endianness, Object, ObjectSection};
use serde::{Deserialize, Serialize};
use vreserve_abi::{ABI_VERSION, METADATA_SECTION};

use super::LoadError;
use super::file::CheckedFile;
use crate::plugin::PluginKind;

/// Most bytes of metadata.
const MAX_METADATA: u64 = 64 * 1024;

/// What `export_plugin!` wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The plugin's name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What it does, in one line.
    pub description: String,
    /// The kinds it serves, with spaces between.
    pub kinds: String,
    /// The ABI version it was built for.
    pub abi: String,
    /// Its panic strategy.
    pub panic: String,
}

impl Metadata {
    /// Reads the metadata of every plugin in the file at `path` (one, but for libraries that link others),
    /// after the same checks that loading makes. Nothing of the file is run.
    ///
    /// # Errors
    /// If the file cannot be trusted, is not a shared object for this machine, or is no plugin.
    pub fn read(path: &Path) -> Result<Vec<Self>, LoadError> {
        let file = CheckedFile::open(path)?;
        read(path, &file.bytes()?)
    }

    /// The kinds it serves.
    pub fn kinds(&self) -> impl Iterator<Item = PluginKind> {
        self.kinds.split_whitespace().filter_map(|kind| kind.parse().ok())
    }

    /// Whether this host can run it as `wanted`, as far as that can be said without loading it.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self, wanted: PluginKind) -> Result<(), LoadError> {
        let plugin = self.name.clone();
        if !self.kinds().any(|kind| kind == wanted) {
            let kinds = self.kinds().map(PluginKind::name).collect::<Vec<_>>().join(", ");
            let serves = if kinds.is_empty() { "no kind that this host knows".to_owned() } else { kinds };
            return Err(LoadError::WrongKind { plugin, serves, wanted });
        }
        let found = self.abi.clone();
        match (major(&self.abi), major(ABI_VERSION)) {
            (theirs, ours) if theirs < ours => return Err(LoadError::TooOld { plugin, found }),
            (theirs, ours) if theirs > ours => return Err(LoadError::TooNew { plugin, found }),
            _ => {}
        }
        if self.panic != "unwind" {
            return Err(LoadError::PanicStrategy { plugin, found: self.panic.clone() });
        }
        Ok(())
    }
}

/// The major version; what is not a version is older than any.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The metadata in the bytes of a file.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Metadata>, LoadError> {
    let not_shared = |reason: String| LoadError::NotShared { path: path.to_owned(), reason };
    if !bytes.starts_with(b"\x7fELF") {
        return Err(not_shared("no ELF header".to_owned()));
    }
    let file = object::File::parse(bytes).map_err(|error| not_shared(error.to_string()))?;
    check_machine(path, file.architecture())?;
    check_whole(bytes).map_err(not_shared)?;
    let not_a_plugin = || LoadError::NotAPlugin { path: path.to_owned() };
    let section = file.section_by_name(METADATA_SECTION).ok_or_else(not_a_plugin)?;
    if section.size() > MAX_METADATA {
        return Err(not_a_plugin());
    }
    let data = section.data().map_err(|error| not_shared(error.to_string()))?;
    let documents = serde_json::Deserializer::from_slice(data.trim_ascii()).into_iter();
    let found: Vec<Metadata> = documents.collect::<Result<_, _>>().map_err(|_| not_a_plugin())?;
    if found.is_empty() { Err(not_a_plugin()) } else { Ok(found) }
}

const HOST: (Architecture, &str) = if cfg!(target_arch = "x86_64") {
    (Architecture::X86_64, "x86_64")
} else if cfg!(target_arch = "aarch64") {
    (Architecture::Aarch64, "aarch64")
} else if cfg!(target_arch = "riscv64") {
    (Architecture::Riscv64, "riscv64")
} else {
    panic!("add this machine's ELF architecture here")
};

fn check_machine(path: &Path, found: Architecture) -> Result<(), LoadError> {
    let (expected, name) = HOST;
    if found == expected {
        return Ok(());
    }
    let found = format!("{found:?}").to_ascii_lowercase();
    Err(LoadError::WrongMachine { path: path.to_owned(), found, expected: name })
}

/// Checks that all parts to be mapped are in the file: touching a page beyond its end would end the
/// daemon with SIGBUS.
fn check_whole(bytes: &[u8]) -> Result<(), String> {
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    if header.e_type(endian) != ET_DYN {
        return Err("an ELF file, but not a shared one".to_owned());
    }
    let segments = header.program_headers(endian, bytes).map_err(|error| error.to_string())?;
    let ends = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .map(|segment| segment.p_offset(endian).checked_add(segment.p_filesz(endian)));
    for end in ends {
        if end.is_none_or(|end| end > bytes.len() as u64) {
            return Err("the file is truncated".to_owned());
        }
    }
    Ok(())
}
