//! `kirsh token`: draws the secret that ranks started by hand across hosts share.

use std::path::{Path, PathBuf};

use super::FAILED;
use crate::error::Error;
use crate::rendezvous::token;

/// What `kirsh token` is told.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The file to write, readable by its owner alone; never one that exists. With - the token is
    /// printed instead.
    #[arg(default_value = "kirsh.token", value_name = "PATH")]
    path: PathBuf,
}

/// Draws a token, writes or prints it, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    match draw(&args.path) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("kirsh token: {error}");
            FAILED
        }
    }
}

fn draw(path: &Path) -> Result<(), Error> {
    let token = token::generate()?;
    if path == Path::new("-") {
        println!("{}", String::from_utf8_lossy(token.secret()));
        return Ok(());
    }
    token::write_file(path, &token)?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    println!(
        "Wrote {0}. Copy it to every host (mode 600) and set there:\nKIRSH_TOKEN_FILE={0}",
        path.display()
    );
    Ok(())
}
