//! Plans of a whole world run against each other, with elements that know whose they are.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::*;

/// Stands for the sum of some ranks' elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    /// The sum of a number of each.
    sum: u64,
    /// How many there are in it.
    count: u32,
    /// The tree of folds, without regard to the order of two operands.
    pub(super) order: u64,
}

impl Print {
    /// What is in it, in whichever order.
    pub(super) const fn contents(self) -> (u64, u32) {
        (self.sum, self.count)
    }
}

pub(super) fn own(rank: Rank, element: u64) -> Print {
    let order = mix(u64::from(rank) + 1);
    Print { sum: mix(u64::from(rank) << 40 ^ element), count: 1, order }
}

pub(super) fn both(left: Print, right: Print) -> Print {
    if left == Print::default() {
        return right;
    }
    let (low, high) = (left.order.min(right.order), left.order.max(right.order));
    Print {
        sum: left.sum.wrapping_add(right.sum),
        count: left.count + right.count,
        order: mix(mix(low).wrapping_add(high.rotate_left(17))),
    }
}

/// One rank of a large world. Its input is never written, so it need not be held.
struct Member {
    rank: Rank,
    plan: Arc<dyn Plan>,
    position: u64,
    output: Vec<Print>,
    scratch: Vec<Print>,
}

impl Member {
    fn read(&self, span: Span) -> Vec<Print> {
        let (begin, end) = (span.offset / 4, span.end() / 4);
        let held = begin as usize..end as usize;
        match span.space {
            Space::Input => (begin..end).map(|element| own(self.rank, element)).collect(),
            Space::Output => self.output[held].to_vec(),
            Space::Scratch => self.scratch[held].to_vec(),
            Space::Encoded => panic!("nothing is encoded here"),
        }
    }

    fn write(&mut self, span: Span, prints: &[Print]) {
        let held = (span.offset / 4) as usize..(span.end() / 4) as usize;
        match span.space {
            Space::Input => panic!("rank {} writes its input", self.rank),
            Space::Output => self.output[held].copy_from_slice(prints),
            Space::Scratch => self.scratch[held].copy_from_slice(prints),
            Space::Encoded => panic!("nothing is encoded here"),
        }
    }
}

/// Runs the plans of all ranks, each step by step, links without limits between them.
pub(super) fn outputs(params: &Params) -> Vec<Vec<Print>> {
    let mut members: Vec<_> = (0..params.world)
        .map(|rank| {
            let plan = build(params, rank).expect("a plan");
            let gives = params.call.collective == Collective::Broadcast && rank == params.call.root;
            let print = |element| if gives { own(rank, element) } else { Print::default() };
            let output = (0..params.output_elements(rank)).map(print).collect();
            let scratch = vec![Print::default(); (plan.scratch_len() / 4) as usize];
            Member { rank, plan, position: 0, output, scratch }
        })
        .collect();
    let mut links: HashMap<(Rank, Rank), VecDeque<Vec<Print>>> = HashMap::new();
    let mut ready: Vec<Rank> = (0..params.world).collect();
    while let Some(rank) = ready.pop() {
        let member = &mut members[rank as usize];
        while member.position < member.plan.len() {
            let step = member.plan.step(member.position);
            let frame = match step {
                Some(Step::Recv { peer, .. } | Step::RecvReduce { peer, .. }) => {
                    match links.get_mut(&(peer, rank)).and_then(VecDeque::pop_front) {
                        Some(frame) => frame,
                        None => break,
                    }
                }
                _ => Vec::new(),
            };
            member.position += 1;
            let fold = |with: Vec<Print>, other: Vec<Print>| -> Vec<_> {
                assert_eq!(with.len(), other.len());
                with.into_iter().zip(other).map(|(left, right)| both(left, right)).collect()
            };
            match step {
                None => {}
                Some(Step::Send { peer, source }) => {
                    links.entry((rank, peer)).or_default().push_back(member.read(source));
                    ready.push(peer);
                }
                Some(Step::Recv { target, .. }) => member.write(target, &frame),
                Some(Step::RecvReduce { with, into, .. }) => {
                    let sum = fold(member.read(with), frame);
                    member.write(into, &sum);
                }
                Some(Step::Reduce { with, into, .. }) => {
                    let sum = fold(member.read(with), member.read(into));
                    member.write(into, &sum);
                }
                Some(Step::Map { source, target, .. }) => {
                    let moved = member.read(source);
                    member.write(target, &moved);
                }
            }
        }
    }
    let stuck: BTreeSet<_> = members
        .iter()
        .filter(|member| member.position < member.plan.len())
        .map(|member| member.rank)
        .collect();
    assert!(
        stuck.is_empty(),
        "{} ranks, {:?} first, wait in {params:?}",
        stuck.len(),
        stuck.first()
    );
    assert!(links.values().all(VecDeque::is_empty), "frames nobody wanted in {params:?}");
    members.into_iter().map(|member| member.output).collect()
}
