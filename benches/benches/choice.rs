//! How long a choice takes, and how good it is: tables over collectives, worlds, layouts and sizes.
//!
//! `cargo bench -p kirsh-benches --bench choice` prints the time of choosing for a new size on some
//! 256 ranks, the shortest of several tries, for each collective and layout the size that takes
//! longest (`NOTES=1` in the environment says which): at most 2 ms is the aim. With `-- grid` it holds
//! what is chosen against the walk of as many steps as `kirsh simulate` affords, and prints where the
//! choice does worst; `-- accuracy` how far each algorithm's prediction with the effort of a choice is
//! from that walk. Both take minutes, less for the collectives alone whose names follow; `STEPS` in the
//! environment is another effort.

use std::time::{Duration, Instant};

use kirsh_core::model::choice::Selection;
use kirsh_core::model::{Class, Costs, Effort, Layout, Network, predict};
use kirsh_core::plan::{Params, algorithms};
use kirsh_core::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// Those that have anything to choose and are chosen for by a size of their own.
const COLLECTIVES: [Collective; 10] = [
    Collective::Barrier,
    Collective::Broadcast,
    Collective::Allreduce,
    Collective::Reduce,
    Collective::Allgather,
    Collective::ReduceScatter,
    Collective::Gather,
    Collective::Scatter,
    Collective::Alltoall,
    Collective::Scan,
];

/// Choices of one call, of which the shortest counts: what else the machine does only adds.
const TRIES: u32 = 5;

/// Cores of a host, fewer than the ranks of the fullest.
const CORES: u32 = 4;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let named = |collective: &Collective| {
        let names = &words[1.min(words.len())..];
        names.is_empty() || names.iter().any(|name| name == collective.name())
    };
    let collectives: Vec<Collective> = COLLECTIVES.into_iter().filter(named).collect();
    match words.first().map(String::as_str) {
        None | Some("times") => times(&collectives),
        Some("grid") => grid(&collectives),
        Some("accuracy") => accuracy(&collectives),
        Some(other) => eprintln!("{other}: say times, grid or accuracy, and which collectives"),
    }
}

/// A call whose larger array has so many bytes.
fn call(collective: Collective, world: u32, dtype: DataType, bytes: u64) -> Call {
    use Collective::*;
    let parts = match collective {
        Allgather | ReduceScatter | Gather | Scatter | Alltoall => u64::from(world),
        _ => 1,
    };
    let count = match collective {
        Barrier => 0,
        _ => (bytes / parts / dtype.size() as u64).max(1),
    };
    let op = if collective.reduces() { ReduceOp::Max } else { ReduceOp::Sum };
    Call {
        collective,
        algorithm: algorithms(collective)[0],
        dtype,
        op,
        root: 0,
        count,
        wire: Wire::Plain,
    }
}

fn times(collectives: &[Collective]) {
    let mut sizes: Vec<u64> = (0..=15).map(|step| 1 << (2 * step)).collect();
    sizes.extend([100_000_000, 1_000_000_000, 3_000_000, 40_000]);
    let layouts = [(256, 1), (256, 2), (256, 4), (256, 8), (250, 1), (255, 1), (250, 2), (255, 8)];
    print!("longest choice, us    ");
    for (world, per_host) in layouts {
        print!("{:>10}", format!("{world}/{per_host}"));
    }
    println!();
    for collective in collectives {
        print!("{:<22}", collective.name());
        let mut notes = Vec::new();
        for (world, per_host) in layouts {
            let layout = Layout { world, ranks_per_host_max: per_host };
            let mut longest = (Duration::ZERO, String::new());
            for class in [Class::Gbit1, Class::Gbit100] {
                let selection = Selection::built_in(class, CORES);
                for dtype in
                    [DataType::Uint8, DataType::Float16, DataType::Float32, DataType::Int64]
                {
                    for bytes in &sizes {
                        let call = call(*collective, world, dtype, *bytes);
                        let tries = (0..TRIES).map(|_| {
                            let begin = Instant::now();
                            std::hint::black_box(selection.choose(layout, &call, None));
                            begin.elapsed()
                        });
                        let shortest = tries.min().unwrap_or_default();
                        if shortest > longest.0 {
                            longest = (
                                shortest,
                                format!("{world}/{per_host}: {bytes} B of {dtype}, {class:?}"),
                            );
                        }
                    }
                }
            }
            print!("{:>10.0}", longest.0.as_secs_f64() * 1e6);
            notes.push(longest.1);
        }
        println!();
        if std::env::var_os("NOTES").is_some() {
            println!("    {}", notes.join("\n    "));
        }
    }
}

/// A cell of the grid: what was chosen, and how much longer it takes than the best.
struct Cell {
    worse_percent: f64,
    text: String,
}

/// The worlds, layouts and sizes that choices are held against a thorough walk in.
const WORLDS: [u32; 12] = [2, 3, 4, 5, 8, 16, 32, 64, 100, 128, 255, 256];
const PER_HOST: [u32; 3] = [1, 2, 8];

fn sizes() -> impl Iterator<Item = u64> {
    (6..=28).step_by(2).map(|bits| 1 << bits)
}

fn thorough() -> Effort {
    let steps = std::env::var("STEPS").ok().and_then(|steps| steps.parse().ok());
    steps.map_or(Effort::ANSWER, Effort::of)
}

fn accuracy(collectives: &[Collective]) {
    let selection = Selection::built_in(Class::Gbit25, CORES);
    let network = Network::new(*selection.costs());
    for collective in collectives {
        for algorithm in algorithms(*collective) {
            for per_host in PER_HOST {
                // The share of cells that are off by more than 10 %, and the worst of each sign.
                let (mut cells, mut off_cells) = (0, 0);
                let mut worst: [(f64, String); 2] = Default::default();
                for world in WORLDS {
                    let layout = Layout { world, ranks_per_host_max: per_host };
                    for bytes in sizes() {
                        let call = call(*collective, world, DataType::Float32, bytes);
                        let slice = selection.choose(layout, &call, Some(*algorithm)).slice;
                        let call = Call { algorithm: *algorithm, ..call };
                        let params = Params::new(call, world, slice);
                        let time = |effort| predict(&params, layout, &network, effort);
                        let (Ok(long), Ok(short)) =
                            (time(thorough()), time(Effort::of_choice(layout)))
                        else {
                            continue;
                        };
                        let off = short.time_ps as f64 * 100.0 / long.time_ps as f64 - 100.0;
                        cells += 1;
                        off_cells += u32::from(off.abs() > 10.0);
                        let worst = &mut worst[usize::from(off > 0.0)];
                        if off.abs() > worst.0.abs() {
                            *worst = (off, format!("{world} ranks, {bytes} B in {}K", slice >> 10));
                        }
                    }
                }
                let [low, high] = worst;
                println!(
                    "{collective} by {algorithm}, {per_host} a host: {off_cells} of {cells} beyond 10 %; {:+.1} % ({}), {:+.1} % ({})",
                    low.0, low.1, high.0, high.1
                );
            }
        }
    }
}

fn grid(collectives: &[Collective]) {
    let effort = thorough();
    for class in [Class::Gbit1, Class::Gbit25] {
        let selection = Selection::new(Costs::built_in(class, CORES));
        let network = Network::new(*selection.costs());
        for collective in collectives {
            let mut cells = Vec::new();
            for world in WORLDS {
                for per_host in PER_HOST {
                    let layout = Layout { world, ranks_per_host_max: per_host };
                    for bytes in sizes() {
                        let call = call(*collective, world, DataType::Float32, bytes);
                        cells.extend(cell(&selection, layout, &network, &call, effort));
                    }
                }
            }
            cells.sort_by(|a, b| b.worse_percent.total_cmp(&a.worse_percent));
            let beyond = cells.iter().filter(|cell| cell.worse_percent > 10.0).count();
            println!("{class:?} {collective}: {beyond} of {} cells beyond 10 %", cells.len());
            for cell in cells.iter().take(12).filter(|cell| cell.worse_percent > 3.0) {
                println!("    {:6.1} %  {}", cell.worse_percent, cell.text);
            }
        }
    }
}

/// Each algorithm with the slice that would be chosen for it, walked thoroughly.
fn cell(
    selection: &Selection,
    layout: Layout,
    network: &Network,
    call: &Call,
    effort: Effort,
) -> Option<Cell> {
    let timed = |algorithm: Algorithm| {
        let slice = selection.choose(layout, call, Some(algorithm)).slice;
        let params = Params::new(Call { algorithm, ..*call }, layout.world, slice);
        let thorough = predict(&params, layout, network, effort).ok()?.time_ps;
        let quick = predict(&params, layout, network, Effort::of_choice(layout)).ok()?.time_ps;
        Some((algorithm, slice, thorough, quick))
    };
    let all: Vec<_> = algorithms(call.collective).iter().filter_map(|a| timed(*a)).collect();
    let chosen = selection.choose(layout, call, None);
    let ours = all.iter().find(|one| one.0 == chosen.algorithm)?.2;
    let best = all.iter().map(|one| one.2).min()?;
    let listed: Vec<String> = all
        .iter()
        .map(|(algorithm, slice, thorough, quick)| {
            let off = *quick as f64 * 100.0 / *thorough as f64 - 100.0;
            format!("{algorithm}/{}K {:.0} us ({off:+.1} %)", slice >> 10, *thorough as f64 / 1e6)
        })
        .collect();
    Some(Cell {
        worse_percent: ours as f64 * 100.0 / best as f64 - 100.0,
        text: format!(
            "{} ranks, {} a host, {} elements: {} of {}",
            layout.world,
            layout.ranks_per_host_max,
            call.count,
            chosen.algorithm,
            listed.join(", ")
        ),
    })
}
