//! The way from a loaded library's symbol to its checked root table.

use std::fmt;

use abi_stable::StableAbi;
use abi_stable::abi_stability::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, LibraryError, RootModule, RootModuleError};
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::TypeLayout;

use crate::tables::PluginRef;

/// The ELF section that holds a plugin's metadata (a JSON object), readable without loading it.
pub const METADATA_SECTION: &str = ".vreserve.plugin";

/// The exported symbol is this, followed by the plugin's name. Distinct names let several plugins be
/// linked into one program.
pub const SYMBOL_PREFIX: &str = "vreserve_plugin_";

impl RootModule for PluginRef {
    const BASE_NAME: &'static str = "vreserve_plugin";
    const NAME: &'static str = "vreserve_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
    abi_stable::declare_root_module_statics! {PluginRef}
}

/// Why a library's root table cannot be used: one line, and the whole report for `--verbose`.
#[derive(Debug, Clone)]
pub struct LayoutMismatch {
    /// One line.
    pub reason: String,
    /// Everything the checker said.
    pub report: String,
}

impl fmt::Display for LayoutMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for LayoutMismatch {}

impl LayoutMismatch {
    fn line(error: &LibraryError) -> Self {
        let report = error.to_string();
        let reason = match error {
            LibraryError::RootModule { err: RootModuleError::Unwound, .. } => "its root function panicked",
            LibraryError::InvalidAbiHeader(_) => "its root symbol is not one that export_plugin! writes",
            _ => report.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("cannot be read"),
        };
        LayoutMismatch { reason: reason.trim_end_matches('.').to_owned(), report: report.clone() }
    }
}

/// Checks what a library exports at its root symbol and returns its root table.
///
/// The layout is accepted if either side's tables are a prefix of the other's: an older plugin in a newer
/// host (missing functions read as `None`) and a newer plugin in an older host both load.
///
/// # Safety
/// `symbol` must be the address of the symbol [`SYMBOL_PREFIX`]`<name>` in a library that stays loaded for
/// the rest of the process, and that library must have been built with `export_plugin!`.
pub unsafe fn root_from_symbol(symbol: *const ()) -> Result<PluginRef, LayoutMismatch> {
    // SAFETY: the caller vouches that the symbol is a `LibHeader`, which starts with an `AbiHeader`;
    // `AbiHeaderRef` is a transparent pointer to one. `upgrade` checks its magic before reading further.
    let header = unsafe { std::mem::transmute::<*const (), AbiHeaderRef>(symbol) };
    let header = header.upgrade().map_err(|error| LayoutMismatch::line(&error))?;
    if let Some(theirs) = header.layout() {
        check_both_ways(<PluginRef as StableAbi>::LAYOUT, theirs)?;
    } else {
        return Err(LayoutMismatch {
            reason: "the library carries no layout to check".to_owned(),
            report: String::new(),
        });
    }
    // SAFETY: the layout has just been checked; fields beyond the shorter table are optional and their
    // accessors consult the field count stored in the plugin's own table.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginRef>() }
        .map_err(|error| LayoutMismatch::line(&error))
}

fn check_both_ways(ours: &'static TypeLayout, theirs: &'static TypeLayout) -> Result<(), LayoutMismatch> {
    let Err(newer_plugin) = check_layout_compatibility(ours, theirs).into_result() else { return Ok(()) };
    let Err(older_plugin) = check_layout_compatibility(theirs, ours).into_result() else { return Ok(()) };
    // The direction with fewer complaints is the one the author meant.
    let (newer, older) = (newer_plugin.to_string(), older_plugin.to_string());
    let report = if older.len() < newer.len() { older } else { newer };
    Err(LayoutMismatch { reason: summary(&report), report })
}

/// The first complaint of a layout report, in one line: the checker's own text runs to thousands.
fn summary(report: &str) -> String {
    let mut lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    let complaint = lines
        .by_ref()
        .find_map(|line| line.strip_prefix("Error:"))
        .map(|rest| rest.trim().trim_matches(['-', '>', '<']).to_owned())
        .unwrap_or_else(|| "tables differ".to_owned());
    let detail: Vec<_> = lines.take(4).map(|line| line.chars().take(80).collect::<String>()).collect();
    format!("table layout differs: {complaint} {}", detail.join(" ")).trim().to_owned()
}
