//! A second, plainer carrying-out of plans, without sessions: for worlds in which those of all ranks
//! and every interleaving's detours would take too long.
//!
//! It keeps the rules of plans and no others. A rank has its next few steps in view. A frame moves
//! only while its send and its receive are both ready, each in its turn on its link; a step waits for
//! earlier ones that it conflicts with, and what is to be folded waits in the one slab of its link.
//!
//! One such run stands for all: whatever is ready stays ready until it happens, whatever happens
//! elsewhere (conflicts and turns order steps for good, room in view and in a slab only grows while
//! a step waits for it), and two steps that are ready at once touch no common bytes. So every order
//! in which the same rules let things happen, with this view or a longer one, happens to the end if
//! this one does, and leaves the same elements. That sessions keep the same rules is what their own
//! simulation is for, where both give the same orders of folds.

use std::collections::HashMap;
use std::sync::Arc;

use super::check;
use super::memory::{Element, Memory, Place, Symbols};
use super::queue::{Quick, mix};
use super::{Calling, Failure, Violation};
use crate::plan::{Params, Pattern, Plan, Step, build};
use crate::types::{Rank, Span, Wire};

/// Steps that a rank has in view: the fewest that a session is tried with.
const VIEW: usize = 4;

/// A step in view.
struct Live {
    step: Step,
    /// The socket that its frame travels on.
    stripe: u8,
    reads: [Place; 2],
    writes: Place,
    /// What a frame that is to be folded brought, once it has come.
    slab: Option<Vec<Element>>,
}

impl Live {
    fn conflicts(&self, later: &Live) -> bool {
        // A frame without payload comes after all that was received before it.
        let fence = matches!(later.step, Step::Send { source, .. } if source.len == 0);
        (fence && self.step.receives())
            || self.writes.overlaps(&later.writes)
            || later.reads.iter().any(|read| read.overlaps(&self.writes))
            || self.reads.iter().any(|read| read.overlaps(&later.writes))
    }
}

/// One rank on its way through its plan.
struct Walker {
    rank: Rank,
    params: Params,
    plan: Arc<dyn Plan>,
    memory: Memory,
    next: u64,
    /// Frames so far to and from each rank.
    frames: HashMap<(Rank, bool), u32, Quick>,
    /// In the order of the plan.
    live: Vec<Live>,
}

impl Walker {
    fn new(calling: &Calling, rank: Rank) -> Self {
        let params = calling.params_of(rank);
        let plan = build(&params, rank).expect("the call's parameters make a plan");
        let plan = calling.replace.map_or(plan.clone(), |replace| replace(rank, plan));
        let own_lens = [plan.scratch_len(), plan.encoded_len()];
        let memory = check::memory(&params, calling.in_place, rank, own_lens);
        let (frames, live) = (HashMap::default(), Vec::with_capacity(VIEW));
        Walker { rank, params, plan, memory, next: 0, frames, live }
    }

    fn broken(&self, violation: Violation, text: impl AsRef<str>) -> Failure {
        Failure { violation, text: format!("rank {}: {}", self.rank, text.as_ref()) }
    }

    fn place(&self, span: Span) -> Result<Place, Failure> {
        let out = || self.broken(Violation::Frame, format!("{span:?} is out of bounds"));
        self.memory.place(span).ok_or_else(out)
    }

    /// Takes the next steps into view.
    fn look(&mut self) -> Result<(), Failure> {
        while self.live.len() < VIEW && self.next < self.plan.len() {
            let step = self.plan.step(self.next);
            self.next += 1;
            let Some(step) = step else { continue };
            let nowhere = Place::NOWHERE;
            let (reads, writes) = match step {
                Step::Send { source, .. } => ([self.place(source)?, nowhere], nowhere),
                Step::Recv { target, .. } => ([nowhere; 2], self.place(target)?),
                Step::RecvReduce { with, into, .. } => {
                    ([self.place(with)?, nowhere], self.place(into)?)
                }
                Step::Reduce { with, into, .. } => {
                    ([self.place(with)?, self.place(into)?], self.place(into)?)
                }
                Step::Map { source, target, .. } => {
                    ([self.place(source)?, nowhere], self.place(target)?)
                }
            };
            let stripe = self.stripe(&step);
            self.live.push(Live { step, stripe, reads, writes, slab: None });
        }
        Ok(())
    }

    /// Counts a frame, and says which socket it has.
    fn stripe(&mut self, step: &Step) -> u8 {
        let key = match *step {
            Step::Send { peer, .. } => (peer, true),
            Step::Recv { peer, .. } | Step::RecvReduce { peer, .. } => (peer, false),
            Step::Reduce { .. } | Step::Map { .. } => return 0,
        };
        if self.params.stripes <= 1 {
            return 0;
        }
        let frame = self.frames.entry(key).or_default();
        *frame += 1;
        Pattern::EVEN.stripe(*frame - 1, self.params.stripes as u8)
    }

    /// Whether nothing in view that comes before this step conflicts with it.
    fn is_free(&self, at: usize) -> bool {
        !self.live[..at].iter().any(|earlier| earlier.conflicts(&self.live[at]))
    }

    /// The send to this peer whose turn it is, if it may begin.
    fn send_to(&self, to: Rank, stripe: u8) -> Option<usize> {
        let sends = |live: &Live| match live.step {
            Step::Send { peer, .. } => peer == to && live.stripe == stripe,
            _ => false,
        };
        self.live.iter().position(sends).filter(|at| self.is_free(*at))
    }

    /// The receive from this peer whose turn it is, if it may begin.
    fn receive_from(&self, from: Rank, stripe: u8) -> Option<usize> {
        let comes = |live: &Live| match live.step {
            Step::Recv { peer, .. } | Step::RecvReduce { peer, .. } => {
                peer == from && live.stripe == stripe
            }
            _ => false,
        };
        // The slab may still hold the frame before.
        let folds = self.live.iter().any(|live| comes(live) && live.slab.is_some());
        let at = self.live.iter().position(|live| comes(live) && live.slab.is_none())?;
        let ready = match self.live[at].step {
            Step::RecvReduce { .. } => !folds,
            _ => self.is_free(at),
        };
        ready.then_some(at)
    }

    /// Does what is this rank's own of the steps in view. `false` if there is none.
    fn work(&mut self, symbols: &mut Symbols) -> Result<bool, Failure> {
        let ready = (0..self.live.len()).find(|at| match self.live[*at].step {
            Step::Send { .. } | Step::Recv { .. } => false,
            Step::RecvReduce { .. } => self.live[*at].slab.is_some() && self.is_free(*at),
            Step::Reduce { .. } | Step::Map { .. } => self.is_free(*at),
        });
        let Some(at) = ready else { return Ok(false) };
        let Live { step, reads, writes, slab, .. } = self.live.remove(at);
        let mut operand = slab.unwrap_or_default();
        let with = self.memory.at(reads[0]);
        match step {
            // What is folded with what came, or with what lies there.
            Step::Reduce { .. } => operand.extend_from_slice(self.memory.at(writes)),
            Step::Map { map, .. } => operand = symbols.map(with, map),
            Step::RecvReduce { wire, .. } if wire != Wire::Plain => {
                operand = symbols.decode(&operand, wire);
            }
            _ => {}
        }
        let folds = !matches!(step, Step::Map { .. });
        if operand.len() != self.memory.at(writes).len() || folds && operand.len() != with.len() {
            return Err(self.broken(Violation::Frame, format!("unequal lengths in {step:?}")));
        }
        match step {
            Step::Reduce { finish, .. } | Step::RecvReduce { finish, .. } => {
                for (element, with) in operand.iter_mut().zip(with) {
                    *element = symbols.fold(*with, *element, finish);
                }
            }
            Step::Send { .. } | Step::Recv { .. } | Step::Map { .. } => {}
        }
        self.memory.at_mut(writes).copy_from_slice(&operand);
        Ok(true)
    }

    fn peers(&self) -> impl Iterator<Item = (Rank, Rank, u8)> {
        self.live.iter().filter_map(|live| match live.step {
            Step::Send { peer, .. } => Some((self.rank, peer, live.stripe)),
            Step::Recv { peer, .. } | Step::RecvReduce { peer, .. } if live.slab.is_none() => {
                Some((peer, self.rank, live.stripe))
            }
            _ => None,
        })
    }
}

/// Carries a call out on all ranks and holds every result against what it should be. Gives what
/// [`Report::orders`](super::Report::orders) has for the call.
///
/// # Errors
/// The first rule that was broken.
///
/// # Panics
/// Where the parameters make no plan.
pub fn walk(calling: &Calling) -> Result<Option<u64>, Failure> {
    let world = calling.params.world;
    let mut symbols = Symbols::default();
    let mut walkers: Vec<_> = (0..world).map(|rank| Walker::new(calling, rank)).collect();
    // Ranks that may be able to go on.
    let mut ready: Vec<Rank> = (0..world).rev().collect();
    while let Some(rank) = ready.pop() {
        advance(&mut walkers, rank, &mut symbols, &mut ready)?;
    }
    if let Some(stuck) = walkers.iter().find(|walker| !walker.live.is_empty()) {
        let steps: Vec<_> = stuck.live.iter().map(|live| live.step).collect();
        return Err(stuck.broken(Violation::Deadlock, format!("stuck before {steps:?}")));
    }
    let mut all = None;
    for walker in &walkers {
        let Walker { rank, params, memory, .. } = walker;
        let order = check::result(calling, params, *rank, memory, &symbols).map_err(
            |(violation, text)| walker.broken(violation, format!("{calling:?}: {text}")),
        )?;
        all = Some(match (check::is_one_for_all(params.call.collective), all) {
            (true, Some(other)) if other != order => {
                return Err(walker.broken(Violation::Order, "folded in an order of its own"));
            }
            (true, _) => order,
            (_, sum) => sum.unwrap_or(0u64).wrapping_add(mix(order ^ u64::from(*rank))),
        });
    }
    Ok(all)
}

/// Does all that a rank can do just now, and notes whom that may let go on.
fn advance(
    walkers: &mut [Walker],
    rank: Rank,
    symbols: &mut Symbols,
    ready: &mut Vec<Rank>,
) -> Result<(), Failure> {
    loop {
        let walker = &mut walkers[rank as usize];
        walker.look()?;
        if walker.work(symbols)? {
            continue;
        }
        let meets = |(from, to, stripe): &(Rank, Rank, u8)| {
            walkers[*from as usize].send_to(*to, *stripe).is_some()
                && walkers[*to as usize].receive_from(*from, *stripe).is_some()
        };
        let next = walkers[rank as usize].peers().find(meets);
        let Some((from, to, stripe)) = next else { return Ok(()) };
        transfer(walkers, from, to, stripe)?;
        ready.push(if from == rank { to } else { from });
    }
}

/// Moves the frame that both ends are ready for.
fn transfer(walkers: &mut [Walker], from: Rank, to: Rank, stripe: u8) -> Result<(), Failure> {
    let sender = &mut walkers[from as usize];
    let Some(at) = sender.send_to(to, stripe) else { return Ok(()) };
    let source = sender.live.remove(at).reads[0];
    let (payload, bytes) = (sender.memory.at(source).to_vec(), sender.memory.bytes(source));
    let receiver = &mut walkers[to as usize];
    let Some(at) = receiver.receive_from(from, stripe) else { return Ok(()) };
    let (step, target) = (receiver.live[at].step, receiver.live[at].writes);
    let due = match step {
        Step::RecvReduce { wire, .. } => wire.encoded(receiver.memory.bytes(target)),
        _ => receiver.memory.bytes(target),
    };
    if bytes != due {
        let text = format!("{} elements from rank {from} for {step:?}", payload.len());
        return Err(receiver.broken(Violation::Frame, text));
    }
    if let Step::RecvReduce { .. } = step {
        receiver.live[at].slab = Some(payload);
    } else {
        receiver.live.remove(at);
        receiver.memory.at_mut(target).copy_from_slice(&payload);
    }
    Ok(())
}
