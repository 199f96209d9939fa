//! `kirsh perf`: times a collective over a range of sizes, in the columns of nccl-tests.
//!
//! [`sizes`] says which arrays, [`shape`] how they are divided, [`pattern`] what they hold and what
//! must come out, [`calls`] makes the calls, [`measure`] says how long they take, and [`report`]
//! shows it. With `-n` and no launcher around it the command starts
//! its ranks itself, by way of `kirsh run` ([`again`] says with which command line).

pub(super) mod again;
mod calls;
mod measure;
mod pattern;
mod report;
mod shape;
mod sizes;

use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use self::measure::{Mode, Request};
use self::report::{Format, Heading, Report};
use super::{FAILED, MISUSED, named};
use crate::comm::{Communicator, Config};
use crate::error::{Error, Result};
use crate::limits::{CHANNELS_MAX, STRIPES_MAX, WORLD_SIZE_MAX};
use crate::model::units;
use crate::plan::{algorithms, not_encoded};
use crate::rendezvous::identity::process_env;
use crate::rendezvous::settings::{CHANNELS, STRIPES};
use crate::types::{Algorithm, Call, Collective, DataType, Rank, ReduceOp, Wire};

/// What the options do not say.
const AFTER_HELP: &str = "\
Columns, as in nccl-tests:
  size    bytes of the whole array: what each rank has of it where all have the same,
          what an allgather or gather leaves, what a reduce_scatter, scatter or alltoall
          begins with
  count   elements of it; of one rank's part where the collective has equal parts
  time    of one call in microseconds: the slowest rank's, the median of several batches
  algbw   size / time, in GB/s (1 GB = 1e9 bytes)
  busbw   what a link carries, so that it compares with the hardware whatever the number
          of ranks: algbw x 2(n-1)/n for allreduce; x (n-1)/n for allgather,
          reduce_scatter, gather, scatter, alltoall and their forms with counts; x 1 for
          broadcast, reduce, scan and exscan
  wrong   elements, over all ranks, that differ from the exact result; with --wire by more
          than rounding them on the way explains

Where counts differ by rank (allgatherv and its like) rank r has r+1 shares of the array,
and an alltoallv sends (s+r) mod n + 1 shares from rank s to rank r.

Started by any launcher (RANK and WORLD_SIZE, or KIRSH_*) this process is one rank of that
world. Otherwise -n starts so many ranks on this host. Rank 0 prints.

Exit code: 0, or 1 where a call failed or an element was wrong.";

/// What `kirsh perf` is told.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// What to time. A barrier has no array: one line, of size 0.
    #[arg(value_parser = collectives())]
    collective: Collective,

    /// How many ranks to start on this host, unless a launcher has started this one.
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: Option<u32>,

    /// The smallest array, in bytes or with K, M or G (powers of 1024).
    #[arg(short = 'b', long, value_name = "SIZE", default_value = "4",
          value_parser = units::bytes)]
    minbytes: u64,

    /// The largest array.
    #[arg(short = 'e', long, value_name = "SIZE", default_value = "64M",
          value_parser = units::bytes)]
    maxbytes: u64,

    /// How many times as large each array is as the one before.
    #[arg(short = 'f', long, value_name = "FACTOR", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(2..))]
    stepfactor: u64,

    /// How many calls of each size are timed; auto: as many as take some 0.2 s.
    #[arg(short = 'i', long, value_name = "COUNT", default_value = "auto",
          value_parser = parse_iterations)]
    iters: Iterations,

    /// How many calls of each size go before the timed ones.
    #[arg(short = 'w', long, value_name = "COUNT", default_value_t = 5)]
    warmup: u32,

    /// The type of the elements.
    #[arg(long, value_name = "TYPE", default_value = "float32", value_parser = parse_dtype)]
    dtype: DataType,

    /// How a collective that reduces makes one element of two.
    #[arg(long, value_name = "OP", default_value = "sum", value_parser = parse_op)]
    op: ReduceOp,

    /// The rank that gives or gets what the others do not, where the collective has one.
    #[arg(long, value_name = "RANK", default_value_t = 0)]
    root: Rank,

    /// Forces an algorithm; the library chooses if not given.
    #[arg(long, value_name = "NAME", value_parser = parse_algorithm)]
    algorithm: Option<Algorithm>,

    /// How float32 travels: none, bf16, f16 or int8.
    #[arg(long, value_name = "FORMAT", default_value = "none", value_parser = parse_wire)]
    wire: Wire,

    /// Sockets between two ranks, also of one host; what KIRSH_STRIPES says if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=STRIPES_MAX as i64))]
    stripes: Option<u8>,

    /// How many channels carry out each call; what KIRSH_CHANNELS says if not given. Rank 0's word counts.
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(CHANNELS_MAX)))]
    channels: Option<u16>,

    /// The result takes the input's place (the default where input and result are equally long on
    /// every rank).
    #[arg(long, overrides_with = "out_of_place")]
    in_place: bool,

    /// The result goes to an array of its own: for allreduce, and always where input and result
    /// differ in length.
    #[arg(long, overrides_with = "in_place", conflicts_with = "started")]
    out_of_place: bool,

    /// Starts each call and waits for it, so that the progress thread drives it.
    #[arg(long)]
    started: bool,

    /// Checks the result of one more call of each size (the default).
    #[arg(long, overrides_with = "no_check")]
    check: bool,

    /// Checks nothing.
    #[arg(long, overrides_with = "check")]
    no_check: bool,

    /// Prints comma-separated values.
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Prints one JSON object, at the end.
    #[arg(long)]
    json: bool,
}

/// How many calls are timed for each size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Iterations {
    Auto,
    Count(u32),
}

/// Runs the measurement as `invocation`, the command line as [`super::main`] got it, asks for it,
/// and returns the exit code.
pub(super) fn run(args: Args, invocation: &[OsString]) -> i32 {
    if let Err(problem) = args.sensible() {
        eprintln!("kirsh perf: {problem}");
        return MISUSED;
    }
    let failed = |error: Error| {
        eprintln!("kirsh perf: {error}");
        FAILED
    };
    match again::start_ranks(args.ranks, invocation) {
        Ok(Some(code)) => code,
        Ok(None) => measure_as_a_rank(&args).unwrap_or_else(failed),
        Err(error) => failed(error),
    }
}

fn measure_as_a_rank(args: &Args) -> Result<i32> {
    let given = [
        (STRIPES.name, args.stripes.map(|stripes| stripes.to_string())),
        (CHANNELS.name, args.channels.map(|channels| channels.to_string())),
    ];
    let setting = |name: &str| {
        let given = given.iter().find(|(known, _)| *known == name);
        given.and_then(|(_, value)| value.clone()).or_else(|| process_env(name))
    };
    let comm = Communicator::create_in(&Config::default(), &setting)?;
    let request = args.request();
    let heading = Heading {
        collective: request.collective,
        ranks: comm.size(),
        ranks_here: comm.local_size(),
        driver: comm.driver(),
        mode: request.mode,
        algorithm: request.algorithm,
        wire: request.wire,
        stripes: args.stripes,
        channels: args.channels,
    };
    let mut report = (comm.rank() == 0).then(|| Report::new(args.format(), heading));
    let mut wrong = 0;
    measure::measure(&comm, &request, &mut |row| {
        wrong += row.wrong.unwrap_or(0);
        report.as_mut().map_or(Ok(()), |report| report.add(row))
    })?;
    report.map_or(Ok(()), Report::end)?;
    comm.close()?;
    Ok(if wrong == 0 { 0 } else { FAILED })
}

impl Args {
    /// Says what in the arguments cannot be meant.
    fn sensible(&self) -> Result<(), String> {
        let collective = self.collective;
        if self.maxbytes < self.minbytes {
            return Err(format!(
                "-e {} is smaller than -b {}: there is no size to time",
                self.maxbytes, self.minbytes
            ));
        }
        let has_one_array = shape::has_one_array(collective);
        if self.out_of_place && has_one_array && collective != Collective::Allreduce {
            return Err(format!("--out-of-place: a {collective} has one array"));
        }
        if self.in_place && !has_one_array {
            return Err(format!("--in-place: a {collective} is timed with two arrays"));
        }
        if collective.reduces() && !self.op.supports(self.dtype) {
            return Err(format!("{} is not defined on {}", self.op, self.dtype));
        }
        if self.op == ReduceOp::Avg && matches!(collective, Collective::Scan | Collective::Exscan) {
            return Err(format!("avg is not defined for {collective}"));
        }
        let algorithm = self.algorithm.unwrap_or(algorithms(collective)[0]);
        let Args { dtype, op, wire, .. } = *self;
        let call = Call { collective, algorithm, dtype, op, root: 0, count: 0, wire };
        not_encoded(&call).map_or(Ok(()), Err)
    }

    fn request(&self) -> Request {
        let collective = self.collective;
        let counts = match collective {
            Collective::Barrier => vec![0],
            _ => sizes::counts(self.minbytes, self.maxbytes, self.stepfactor, self.dtype.size()),
        };
        let mode = match (self.started, self.out_of_place) {
            (true, _) => Mode::Started,
            (_, true) => Mode::OutOfPlace,
            _ if !shape::has_one_array(collective) => Mode::OutOfPlace,
            _ => Mode::InPlace,
        };
        Request {
            collective,
            // A barrier has neither elements nor root.
            dtype: if collective == Collective::Barrier { DataType::Uint8 } else { self.dtype },
            op: self.op,
            root: if collective.has_root() { self.root } else { 0 },
            algorithm: self.algorithm,
            wire: self.wire,
            mode,
            counts,
            iterations: self.iters,
            warmup: self.warmup,
            check: !self.no_check,
        }
    }

    fn format(&self) -> Format {
        match (self.csv, self.json) {
            (true, _) => Format::Csv,
            (_, true) => Format::Json,
            _ => Format::Table,
        }
    }
}

fn parse_iterations(text: &str) -> Result<Iterations, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(Iterations::Count(count)),
        _ if text == "auto" => Ok(Iterations::Auto),
        _ => Err("give a number from 1 on, or auto".to_owned()),
    }
}

/// Takes any collective by its name.
fn collectives() -> impl TypedValueParser<Value = Collective> {
    let names = Collective::ALL.iter().map(|collective| collective.name());
    PossibleValuesParser::new(names)
        .try_map(|text| Collective::from_name(&text).ok_or("there is no such collective"))
}

fn parse_dtype(text: &str) -> Result<DataType, String> {
    let offered = DataType::ALL.iter().filter(|dtype| measure::has_numbers(**dtype));
    named(text, offered.copied(), DataType::name)
}

fn parse_op(text: &str) -> Result<ReduceOp, String> {
    named(text, ReduceOp::ALL.iter().copied(), ReduceOp::name)
}

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    named(text, Algorithm::ALL.iter().copied(), Algorithm::name)
}

fn parse_wire(text: &str) -> Result<Wire, String> {
    named(text, Wire::ALL.iter().copied(), Wire::name)
}
