//! Two ranks in one process, over loopback.

use std::thread;

use kirsh_core::{Communicator, Config, Error, ErrorKind, Options, ReduceOp, Result};

/// A world of two, rank 0 first, that runs on the driver and with the settings of the environment.
/// Blocks until both have joined.
///
/// # Errors
/// Those of [`Communicator::create`], and `System` where there is no room for a directory to meet in.
pub fn create() -> Result<[Communicator; 2]> {
    let meeting = std::env::temp_dir().join(format!("kirsh-pair-{}", std::process::id()));
    std::fs::create_dir_all(&meeting).map_err(|error| {
        Error::new(ErrorKind::System, format!("{}: {error}", meeting.display()))
    })?;
    let config = |rank| Config {
        rank: Some(rank),
        world_size: Some(2),
        rendezvous: Some(format!("file://{}", meeting.display())),
        ..Config::default()
    };
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| Communicator::create(&config(1)));
        (Communicator::create(&config(0)), second.join().expect("joining does not panic"))
    });
    let _ = std::fs::remove_dir_all(&meeting);
    Ok([first?, second?])
}

/// Sums in place.
///
/// # Panics
/// Where the call fails.
pub fn reduce(comm: &Communicator, data: &mut [f32]) {
    comm.allreduce(data, ReduceOp::Sum, &Options::default()).expect("both ranks make this call");
}
