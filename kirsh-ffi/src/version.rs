//! Which release this is.

use std::ffi::c_char;

/// The release that this header belongs to; kirsh_version() names the one that is loaded.
pub const KIRSH_VERSION_MAJOR: u32 = 0;
pub const KIRSH_VERSION_MINOR: u32 = 1;
pub const KIRSH_VERSION_PATCH: u32 = 0;

/// The version of the loaded library, such as "0.1.0". Never NULL; the text is static.
#[unsafe(no_mangle)]
pub extern "C" fn kirsh_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macros_of_the_header_spell_the_version_of_the_package() {
        let macros = format!("{KIRSH_VERSION_MAJOR}.{KIRSH_VERSION_MINOR}.{KIRSH_VERSION_PATCH}");
        assert_eq!(macros, env!("CARGO_PKG_VERSION"));
    }
}
