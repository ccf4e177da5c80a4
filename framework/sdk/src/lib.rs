//! What a plugin author uses: safe traits and export_plugin!.
