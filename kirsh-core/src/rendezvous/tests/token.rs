//! Tokens are drawn, kept and read without others seeing them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{Scratch, env};
use crate::error::ErrorKind;
use crate::limits;
use crate::rendezvous::token::{find, generate, parse, read_file, write_file};

#[test]
fn drawn_tokens_are_long_hexadecimal_and_never_the_same() {
    let (one, other) = (generate().unwrap(), generate().unwrap());
    assert_eq!(one.secret().len(), 64);
    assert!(one.secret().iter().all(u8::is_ascii_hexdigit));
    assert!(one != other);
}

#[test]
fn lengths_are_bounded_on_both_sides() {
    let of = |len| parse(&"x".repeat(len)).is_some();
    assert!(!of(limits::TOKEN_BYTES_MIN - 1));
    assert!(of(limits::TOKEN_BYTES_MIN));
    assert!(of(limits::TOKEN_BYTES_MAX));
    assert!(!of(limits::TOKEN_BYTES_MAX + 1));
    assert!(parse("sixteen letters and spaces").is_none());
    assert!(parse("0123456789abcdef\n").is_none());
}

#[test]
fn a_written_file_is_for_its_owner_and_reads_back() {
    let path = Scratch::new();
    let token = generate().unwrap();
    write_file(&path.0, &token).unwrap();
    assert_eq!(fs::metadata(&path.0).unwrap().mode() & 0o777, 0o600);
    let before = fs::read(&path.0).unwrap();
    assert!(read_file(&path.0).unwrap() == token);
    let error = write_file(&path.0, &generate().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "a file is never written over");
    assert_eq!(fs::read(&path.0).unwrap(), before);
}

#[test]
fn a_file_that_others_may_read_is_refused_with_what_to_do() {
    let path = Scratch::new();
    write_file(&path.0, &generate().unwrap()).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path.0, fs::Permissions::from_mode(mode)).unwrap();
        let error = read_file(&path.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_file_that_holds_no_token_or_is_missing_is_an_error_that_names_it() {
    let path = Scratch::new();
    let name = path.0.to_str().unwrap().to_owned();
    let missing = find(&env(&[("KIRSH_TOKEN_FILE", &name)])).unwrap_err();
    assert!(missing.message().contains(&name), "{missing}");
    fs::write(&path.0, "short").unwrap();
    fs::set_permissions(&path.0, fs::Permissions::from_mode(0o600)).unwrap();
    let error = read_file(&path.0).unwrap_err();
    assert!(error.message().contains("16 to 256"), "{error}");
    fs::write(&path.0, "x".repeat(100_000)).unwrap();
    assert!(read_file(&path.0).is_err());
}

#[test]
fn the_text_goes_before_the_file_and_is_never_shown() {
    assert!(find(&env(&[])).unwrap().is_none());
    assert!(find(&env(&[("KIRSH_TOKEN", "")])).unwrap().is_none(), "empty counts as unset");
    let both = env(&[("KIRSH_TOKEN", "0123456789abcdef"), ("KIRSH_TOKEN_FILE", "/missing")]);
    assert_eq!(find(&both).unwrap().unwrap().secret(), b"0123456789abcdef");
    let error = find(&env(&[("KIRSH_TOKEN", "secret")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("KIRSH_TOKEN"), "{error}");
    assert!(!error.message().contains("\"secret\""), "{error}");
}
