//! `instructions CALLS`: so many all-reduces of 4 bytes between two ranks of this process.
//!
//! For callgrind, which counts what it executes: `instructions/count.sh` runs it with two numbers of
//! calls, and what the runs differ by is the calls' own, without joining and leaving.

use std::process::ExitCode;
use std::thread;

use kirsh_benches::pair;

fn main() -> ExitCode {
    let calls: Option<u32> = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(calls) = calls else {
        eprintln!("usage: instructions CALLS");
        return ExitCode::FAILURE;
    };
    let ranks = match pair::create() {
        Ok(ranks) => ranks,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    thread::scope(|scope| {
        for comm in &ranks {
            scope.spawn(move || (0..calls).for_each(|_| pair::reduce(comm, &mut [1.0])));
        }
    });
    ExitCode::SUCCESS
}
