//! Plans made of rounds: in each, a rank sends some runs of bytes to one peer and receives some
//! from one, and may move a run within its own memory.
//!
//! All ranks walk the same rounds in the same order, slice by slice, and a frame is sent in the
//! round and slice in which it is received. So the first frame that is still to move always can:
//! nobody is held up by a later one, however short the look-ahead.

use super::cut::{Shape, cut};
use super::{Map, Plan, Step};
use crate::types::{Rank, Span};

/// Runs that one round sends or receives, at most: more than two only where the receiver's end of
/// its array lies in the middle of some.
pub(super) const RUNS: usize = 3;

/// No run.
pub(super) const NONE: Span = Span::scratch(0, 0);

/// What goes to a peer or comes from it in a round. Both ends name runs of the same lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub peer: Rank,
    pub runs: [Span; RUNS],
}

/// What a rank does in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// Source and target.
    pub copy: Option<(Span, Span)>,
    pub send: Option<Side>,
    pub receive: Option<Side>,
}

/// One rank's rounds, the same number on every rank that talks to another.
pub(super) trait Rounds: Send + Sync {
    fn count(&self) -> u64;

    /// The round at an index below `count()`: a pure function, as [`Plan::step`] is.
    fn round(&self, index: u64) -> Round;

    fn scratch_len(&self) -> u64 {
        0
    }
}

/// Rounds as a plan.
pub(super) struct Rounded<R> {
    rounds: R,
    shape: Shape,
    places: Places,
}

/// Where in a plan the slices of each round lie.
enum Places {
    /// Few rounds, each with as many slices as it needs: where those begin, and the round itself.
    Each(Box<[(u64, Round)]>, u64),
    /// Every round has so many.
    Alike(u64),
}

impl<R: Rounds> Rounded<R> {
    /// Looks at every round, and keeps it: for algorithms of few.
    pub(super) fn new(rounds: R, shape: Shape) -> Self {
        let slice = shape.slice_bytes();
        let longest = |round: &Round| {
            let of = |side: &Option<Side>| {
                side.map_or(0, |side| side.runs.iter().map(|run| run.len.div_ceil(slice)).sum())
            };
            let copied = round.copy.map_or(0, |(source, _)| source.len.div_ceil(slice));
            copied.max(of(&round.send)).max(of(&round.receive))
        };
        let mut end = 0;
        let each = (0..rounds.count()).map(|index| {
            let round = rounds.round(index);
            let begin = end;
            end += longest(&round);
            (begin, round)
        });
        let each = each.collect();
        Rounded { rounds, shape, places: Places::Each(each, end) }
    }

    /// For rounds none of which has a run of more than `longest` elements, or more than one run.
    pub(super) fn of_one_run(rounds: R, shape: Shape, longest: u64) -> Self {
        Rounded { rounds, shape, places: Places::Alike(shape.slices(longest)) }
    }

    /// A slice of a round: its move, its send, or its receive.
    fn part(&self, round: &Round, slice: u64, column: u64) -> Option<Step> {
        Some(match column {
            0 => {
                let (source, target) = round.copy?;
                let source = piece(&self.shape, &[source], slice)?;
                let target = piece(&self.shape, &[target], slice)?;
                Step::Map { source, target, map: Map::Copy }
            }
            1 => {
                let Side { peer, runs } = round.send.as_ref()?;
                Step::Send { peer: *peer, source: piece(&self.shape, runs, slice)? }
            }
            _ => {
                let Side { peer, runs } = round.receive.as_ref()?;
                Step::Recv { peer: *peer, target: piece(&self.shape, runs, slice)? }
            }
        })
    }
}

/// A slice of some runs, counted through all of them; `None` where they have fewer. The slices of a
/// run differ by an element at most.
pub(super) fn piece(shape: &Shape, runs: &[Span], mut slice: u64) -> Option<Span> {
    for run in runs {
        if slice == 0 && run.len != 0 && run.len <= shape.slice_bytes() {
            return Some(*run);
        }
        let slices = run.len.div_ceil(shape.slice_bytes());
        if slice < slices {
            let at = |slice| cut(run.len / shape.size, slices, slice) * shape.size;
            let (from, to) = (at(slice), at(slice + 1));
            return Some(Span::new(run.space, run.offset + from, to - from));
        }
        slice -= slices;
    }
    None
}

/// Steps of one slice of a round: a move, a send, a receive.
const WIDTH: u64 = 3;

impl<R: Rounds> Plan for Rounded<R> {
    fn len(&self) -> u64 {
        let rows = match &self.places {
            Places::Each(_, rows) => *rows,
            Places::Alike(slices) => self.rounds.count() * slices,
        };
        rows * WIDTH
    }

    fn step(&self, index: u64) -> Option<Step> {
        let (row, column) = (index / WIDTH, index % WIDTH);
        match &self.places {
            Places::Each(each, _) => {
                let (begin, round) = each.iter().rfind(|(begin, _)| *begin <= row)?;
                self.part(round, row - begin, column)
            }
            Places::Alike(slices) => {
                self.part(&self.rounds.round(row / slices), row % slices, column)
            }
        }
    }

    fn scratch_len(&self) -> u64 {
        self.rounds.scratch_len()
    }
}
