//! What the ranks of the fault tests do.

mod ends;
mod lent;
mod lives;
mod mistakes;

use kirsh_core::{Algorithm, Communicator, Error, Options, ReduceOp};

use super::common::failed;

/// Enough elements for every link to be full of bytes on their way.
const MANY: usize = 4 << 20;

pub(crate) fn play(scenario: &str, detail: &str) {
    match scenario {
        "killed" => ends::killed(detail),
        "stopped" => ends::stopped(detail),
        "deserts" => ends::deserts(),
        "vanishes" => ends::vanishes(),
        "leaves" => ends::leaves(detail),
        "forks" => ends::forks(),
        "mismatch" => mistakes::mismatch(detail),
        "refused" => mistakes::refused(detail),
        "abort" => mistakes::abort(detail),
        "lent" => lent::lent(detail),
        "overtaken" => lent::overtaken(),
        "joins" => lives::joins(),
        "patience" => lives::patience(),
        "again" => lives::again(),
        "alone" => lives::alone(),
        "two" => lives::two(),
        other => panic!("no scenario {other}"),
    }
}

fn reduce(comm: &Communicator, count: usize, options: &Options<'_>) -> Result<(), Error> {
    let mut data = vec![comm.rank() as f32 + 1.0; count];
    comm.allreduce(&mut data, ReduceOp::Sum, options)?;
    let sum = (1..=comm.size()).sum::<u32>() as f32;
    assert!(data.iter().all(|value| *value == sum), "a wrong sum");
    Ok(())
}

/// One round of whatever the test wants to be hit.
fn round(comm: &Communicator, what: &str) -> Result<(), Error> {
    let by = |algorithm| Options { algorithm: Some(algorithm), ..Options::default() };
    match what {
        "small" => reduce(comm, 3, &Options::default()),
        "ring" => reduce(comm, MANY, &by(Algorithm::Ring)),
        "tree" => reduce(comm, 50_000, &by(Algorithm::Tree)),
        "barrier" => comm.barrier(&Options::default()),
        "started" => {
            let works: Result<Vec<_>, _> = (0..4)
                .map(|_| {
                    comm.start_allreduce(vec![1.0f32; 10_000], ReduceOp::Sum, &Options::default())
                })
                .collect();
            works?
                .into_iter()
                .try_for_each(|work| work.wait().map(drop).map_err(|(error, _)| error))
        }
        other => panic!("no such round: {other}"),
    }
}

/// Rounds until one fails; the failure must then stay.
fn until_it_fails(comm: &Communicator, what: &str) {
    let error = loop {
        if let Err(error) = round(comm, what) {
            break error;
        }
    };
    failed(&error);
    let again = comm.barrier(&Options::default()).expect_err("a poisoned communicator");
    assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
}
