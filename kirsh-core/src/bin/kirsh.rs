//! The `kirsh` command as a program of its own; everything it does is in `kirsh_core::cli`.

fn main() -> std::process::ExitCode {
    let code = kirsh_core::cli::main(std::env::args_os().collect());
    // Codes of a shell fit a byte; anything else would be a defect, and must not look like success.
    std::process::ExitCode::from(u8::try_from(code).unwrap_or(1))
}
