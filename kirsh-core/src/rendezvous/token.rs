//! The job's token as people handle it: drawn, read from the environment or a file, written.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::identity::Env;
use super::settings;
use super::table::fill_random;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
pub use crate::wire::auth::Token;

/// Random bytes in a drawn token: as many as the key that HMAC-SHA-256 is meant for.
const RANDOM_BYTES: usize = 32;

/// Draws a token: 32 random bytes, as 64 hexadecimal digits.
pub fn generate() -> Result<Token> {
    let mut bytes = [0; RANDOM_BYTES];
    fill_random(&mut bytes)?;
    Ok(Token::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// The token that a text is, if it is one: 16 to 256 printable ASCII characters without spaces.
pub fn parse(text: &str) -> Option<Token> {
    let fits = (limits::TOKEN_BYTES_MIN..=limits::TOKEN_BYTES_MAX).contains(&text.len());
    (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Token::new(text))
}

/// The job's token: the text of `KIRSH_TOKEN`, else the content of `KIRSH_TOKEN_FILE`, else none.
///
/// # Errors
/// `Configuration` where the one that counts is malformed, or the file is missing or open to others.
pub fn find(env: Env<'_>) -> Result<Option<Token>> {
    if let Some(token) = settings::token(env)? {
        return Ok(Some(token));
    }
    settings::token_file(env)?.map(|path| read_file(&path)).transpose()
}

/// Reads a token file. Blank space around the token is left out.
///
/// # Errors
/// `Configuration` where the file cannot be read, may be read by others than its owner, or holds
/// no token.
pub fn read_file(path: &Path) -> Result<Token> {
    let name = settings::TOKEN_FILE.name;
    let wrong = |why: String| {
        Error::new(
            ErrorKind::Configuration,
            format!("the token file {} ({name}) {why}", path.display()),
        )
    };
    let unreadable = |cause: std::io::Error| wrong(format!("cannot be read: {cause}"));
    // Without O_NONBLOCK the open of a pipe by that name would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(wrong("is not a regular file".to_owned()));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(wrong(format!(
            "can be read by others (mode {:03o}), so it keeps no secret: chmod 600 {}",
            facts.mode() & 0o777,
            path.display()
        )));
    }
    let mut text = String::new();
    // Room for a line end or two behind the longest token.
    let bound = limits::TOKEN_BYTES_MAX as u64 + 8;
    file.take(bound).read_to_string(&mut text).map_err(unreadable)?;
    parse(text.trim())
        .ok_or_else(|| wrong(format!("holds no token: a token is {}", settings::TOKEN.allowed)))
}

/// Writes a token file that only its owner may read (0600). Never writes over a file.
///
/// # Errors
/// `System` where the file exists already or cannot be made.
pub fn write_file(path: &Path, token: &Token) -> Result<()> {
    let failed =
        |cause| Error::system(format_args!("writing the token file {}", path.display()), &cause);
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&[token.secret(), b"\n"].concat()).map_err(failed)?;
    file.sync_all().map_err(failed)
}
