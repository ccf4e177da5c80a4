//! `export_plugin!`: the one macro of a plugin.

/// Exports a type as a plugin.
///
/// ```ignore
/// vreserve_sdk::export_plugin!(name = "link-udp", link = UdpLink);
/// ```
///
/// The name is what `use = "…"` in a node's configuration says, and the shared object must be called
/// `lib<crate name>.so`, or `<name>.so` in a plugin directory. One library may serve several kinds. The macro
/// writes the metadata section that the host reads before it loads the library, and the root table; it
/// also defines `pub fn plugin()`, by which a program that links the plugin statically gets that table.
#[macro_export]
macro_rules! export_plugin {
    (
        name = $name:literal
        $(, capture = $capture:ty)? $(, link = $link:ty)? $(, infer = $infer:ty)? $(, adapt = $adapt:ty)?
        $(, reserve = $reserve:ty)? $(,)?
    ) => {
        /// The plugin's root table, for programs that link it statically.
        pub fn plugin() -> $crate::abi::PluginRef {
            use $crate::shim;
            use $crate::abi::export::PrefixTypeTrait;
            static TABLE: std::sync::OnceLock<$crate::abi::PluginRef> = std::sync::OnceLock::new();
            if let Some(table) = TABLE.get() {
                return *table;
            }
            #[allow(unused_mut, reason = "each kind replaces its own entries")]
            let mut table = shim::empty_table();
            $(shim::add_capture::<$capture>(&mut table);)?
            $(shim::add_link::<$link>(&mut table);)?
            $(shim::add_infer::<$infer>(&mut table);)?
            $(shim::add_adapt::<$adapt>(&mut table);)?
            $(shim::add_reserve::<$reserve>(&mut table);)?
            table.validate = {
                extern "C" fn validate(
                    kind: $crate::abi::RStr<'_>,
                    config: $crate::abi::RStr<'_>,
                ) -> $crate::abi::RResult<(), $crate::abi::PluginFailure> {
                    match kind.as_str() {
                        $("capture" => shim::validate_capture::<$capture>(config),)?
                        $("link" => shim::validate_link::<$link>(config),)?
                        $("infer" => shim::validate_infer::<$infer>(config),)?
                        $("adapt" => shim::validate_adapt::<$adapt>(config),)?
                        $("reserve" => shim::validate_reserve::<$reserve>(config),)?
                        _ => shim::unsupported_kind(),
                    }
                }
                validate
            };
            table.schema = {
                extern "C" fn schema(kind: $crate::abi::RStr<'_>) -> $crate::abi::RString {
                    match kind.as_str() {
                        $("capture" => shim::schema::<<$capture as $crate::Capture>::Config>(),)?
                        $("link" => shim::schema::<<$link as $crate::Link>::Config>(),)?
                        $("infer" => shim::schema::<<$infer as $crate::Infer>::Config>(),)?
                        $("adapt" => shim::schema::<<$adapt as $crate::Adapt>::Config>(),)?
                        $("reserve" => shim::schema::<<$reserve as $crate::Reserve>::Config>(),)?
                        _ => $crate::abi::RString::new(),
                    }
                }
                schema
            };
            *TABLE.get_or_init(|| table.leak_into_prefix())
        }

        const _: () = {
            use $crate::abi::export::{
                CheckTypeLayout, LibHeader, RootModuleResult, __call_root_module_loader,
            };

            extern "C" fn root() -> RootModuleResult {
                __call_root_module_loader(plugin)
            }

            #[unsafe(export_name = concat!("vreserve_plugin_", $name))]
            pub static ROOT: LibHeader = unsafe {
                LibHeader::from_constructor::<$crate::abi::PluginRef>(root, CheckTypeLayout::Yes)
            };

            #[cfg(panic = "unwind")]
            const METADATA: &str = $crate::__metadata!($name, "unwind"
                $(, "capture ", $capture)? $(, "link ", $link)? $(, "infer ", $infer)?
                $(, "adapt ", $adapt)? $(, "reserve ", $reserve)?);
            #[cfg(not(panic = "unwind"))]
            const METADATA: &str = $crate::__metadata!($name, "abort"
                $(, "capture ", $capture)? $(, "link ", $link)? $(, "infer ", $infer)?
                $(, "adapt ", $adapt)? $(, "reserve ", $reserve)?);

            #[used]
            #[unsafe(link_section = ".vreserve.plugin")]
            static SECTION: [u8; METADATA.len()] = $crate::shim::bytes(METADATA);
        };
    };
}

/// The metadata that the host reads before it loads the library. For `export_plugin!` only.
#[doc(hidden)]
#[macro_export]
macro_rules! __metadata {
    ($name:literal, $panic:literal $(, $kind:literal, $type:ty)*) => {
        concat!(
            "{\"name\":\"", $name,
            "\",\"version\":\"", env!("CARGO_PKG_VERSION"),
            "\",\"description\":\"", env!("CARGO_PKG_DESCRIPTION"),
            "\",\"kinds\":\"", $($kind,)*
            "\",\"abi\":\"", $crate::__abi_version!(),
            "\",\"panic\":\"", $panic, "\"}"
        )
    };
}

/// The ABI version as a literal, kept equal to `vreserve_abi::ABI_VERSION` by a test.
#[doc(hidden)]
#[macro_export]
macro_rules! __abi_version {
    () => {
        "1.0.0"
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_metadata_states_the_abi_version_in_force() {
        assert_eq!(__abi_version!(), vreserve_abi::ABI_VERSION);
    }
}
