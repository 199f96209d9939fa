//! `kirsh token`: a secret in a file that nobody else reads and nothing overwrites.

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cli_support::Kirsh;

/// A directory of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kirsh-token-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn a_token_file_is_for_its_owner_alone_and_says_what_to_set() {
    let place = Place::new("written");
    let path = place.0.join("a token");
    let out = Kirsh::new(["token"]).args([&path]).run();
    assert_eq!(out.code, 0, "{out:?}");
    let setting = format!("KIRSH_TOKEN_FILE={}", path.display());
    assert!(out.stdout_lines().contains(&setting), "{out:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(is_token(text.trim_end()), "{text}");
    assert!(!out.stdout_lines().join("").contains(text.trim_end()), "the secret is not shown");
}

#[test]
fn without_a_path_it_is_kirsh_token_here() {
    let place = Place::new("default");
    let out = Kirsh::new(["token"]).current_dir(&place.0).run();
    assert_eq!(out.code, 0, "{out:?}");
    let path = fs::canonicalize(&place.0).unwrap().join("kirsh.token");
    let setting = format!("KIRSH_TOKEN_FILE={}", path.display());
    assert!(out.stdout_lines().contains(&setting), "an absolute path: {out:?}");
    assert!(path.exists());
}

#[test]
fn a_file_that_exists_is_never_overwritten() {
    let place = Place::new("kept");
    let path = place.0.join("kirsh.token");
    fs::write(&path, "precious").unwrap();
    let out = Kirsh::new(["token"]).args([&path]).run();
    assert_eq!(out.code, 1);
    assert!(out.stderr().contains(path.to_str().unwrap()), "{out:?}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_dash_prints_a_fresh_token_and_writes_nothing() {
    let place = Place::new("printed");
    let draw = || {
        let out = Kirsh::new(["token", "-"]).current_dir(&place.0).run();
        assert_eq!(out.code, 0, "{out:?}");
        let lines = out.stdout_lines();
        assert!(lines.len() == 1 && is_token(&lines[0]), "{out:?}");
        lines[0].clone()
    };
    assert_ne!(draw(), draw());
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
}
