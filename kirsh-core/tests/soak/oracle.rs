//! An executor of plans that shares nothing with the library's own: the plans of all ranks, one
//! step after the other as they stand, with unlimited room between the ranks.

use std::collections::{HashMap, VecDeque};

use kirsh_core::plan::{Finish, Map, Params, Step, build};
use kirsh_core::reduce::{Codec, Kernel, scale};
use kirsh_core::types::{Space, Span};
use kirsh_core::{Collective, Rank, Wire};

struct Place {
    input: Vec<u8>,
    output: Vec<u8>,
    scratch: Vec<u8>,
    encoded: Vec<u8>,
}

impl Place {
    fn at(&self, span: Span) -> &[u8] {
        let space = match span.space {
            Space::Input => &self.input,
            Space::Output => &self.output,
            Space::Scratch => &self.scratch,
            Space::Encoded => &self.encoded,
        };
        &space[span.offset as usize..span.end() as usize]
    }

    fn put(&mut self, span: Span, bytes: &[u8]) {
        let space = match span.space {
            Space::Input => panic!("a plan writes to its input"),
            Space::Output => &mut self.output,
            Space::Scratch => &mut self.scratch,
            Space::Encoded => &mut self.encoded,
        };
        space[span.offset as usize..span.end() as usize].copy_from_slice(bytes);
    }
}

/// What each rank has in the end. `params` and `inputs` by rank; of a broadcast only the root's
/// counts. What no rank wrote is 0xa5.
pub(crate) fn results(params: &[Params], inputs: Vec<Vec<u8>>, factors: &[f64]) -> Vec<Vec<u8>> {
    let call = params[0].call;
    let world = params[0].world;
    let kernel = call
        .collective
        .reduces()
        .then(|| Kernel::portable(call.dtype, call.op).expect("an operator of the type"));
    let fold = |with: &[u8], received: &[u8], finish: Finish| {
        let mut into = vec![0u8; with.len()];
        assert_eq!(with.len(), received.len(), "a frame of another length than its step");
        let kernel = kernel.as_ref().expect("only reductions fold");
        // SAFETY: three arrays of one length, none of which overlap.
        unsafe {
            let (with, received) = (with.as_ptr(), received.as_ptr());
            kernel.fold(with, received, into.as_mut_ptr(), into.len(), finish, world);
        }
        into
    };
    let plan = |rank| build(&params[rank as usize], rank).expect("a plan of valid parameters");
    let plans: Vec<_> = (0..world).map(plan).collect();
    let mut places: Vec<Place> = inputs
        .into_iter()
        .zip(&plans)
        .enumerate()
        .map(|(rank, (input, plan))| {
            let elements = params[rank].output_elements(rank as Rank) as usize;
            let output = match call.collective {
                Collective::Broadcast => input.clone(),
                _ => vec![0xa5; elements * call.dtype.size()],
            };
            let own = |len: u64| vec![0; len as usize];
            let (scratch, encoded) = (own(plan.scratch_len()), own(plan.encoded_len()));
            Place { input, output, scratch, encoded }
        })
        .collect();
    let mut wires: HashMap<(Rank, Rank), VecDeque<Vec<u8>>> = HashMap::new();
    let mut next = vec![0u64; world as usize];
    loop {
        let mut moved = false;
        for rank in 0..world {
            let (plan, place) = (&plans[rank as usize], &mut places[rank as usize]);
            let next = &mut next[rank as usize];
            while *next < plan.len() {
                let mut receive =
                    |peer| wires.get_mut(&(peer, rank)).and_then(|wire| wire.pop_front());
                match plan.step(*next) {
                    None => {}
                    Some(Step::Send { peer, source }) => {
                        let frame = place.at(source).to_vec();
                        wires.entry((rank, peer)).or_default().push_back(frame);
                    }
                    Some(Step::Recv { peer, target }) => {
                        let Some(frame) = receive(peer) else { break };
                        place.put(target, &frame);
                    }
                    Some(Step::RecvReduce { peer, with, into, finish, wire }) => {
                        let Some(mut frame) = receive(peer) else { break };
                        if wire != Wire::Plain {
                            frame = decoded(wire, &frame, into.len);
                        }
                        let folded = fold(place.at(with), &frame, finish);
                        place.put(into, &folded);
                    }
                    Some(Step::Reduce { with, into, finish }) => {
                        let folded = fold(place.at(into), place.at(with), finish);
                        place.put(into, &folded);
                    }
                    Some(Step::Map { source, target, map }) => {
                        let mut bytes = place.at(source).to_vec();
                        match map {
                            Map::Copy => {}
                            Map::Scale => {
                                let (start, factor) = (bytes.as_mut_ptr(), factors[rank as usize]);
                                // SAFETY: whole elements, in place.
                                unsafe { scale(call.dtype, start, start, bytes.len(), factor) }
                                    .expect("a float");
                            }
                            Map::Encode(wire) => bytes = encoded(wire, &bytes),
                            Map::Decode(wire) => bytes = decoded(wire, &bytes, target.len),
                        }
                        place.put(target, &bytes);
                    }
                }
                *next += 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let through = next.iter().zip(&plans).all(|(next, plan)| *next == plan.len());
    assert!(through, "the plans wait for one another: {params:?}");
    assert!(wires.values().all(VecDeque::is_empty), "frames that nobody receives: {params:?}");
    places.into_iter().map(|place| place.output).collect()
}

fn encoded(wire: Wire, elements: &[u8]) -> Vec<u8> {
    let codec = Codec::portable(wire).expect("a wire format");
    let mut encoding = vec![0; wire.encoded(elements.len() as u64) as usize];
    // SAFETY: two arrays, the second as long as the first's encoding.
    unsafe { codec.encode(elements.as_ptr(), encoding.as_mut_ptr(), elements.len() / 4) };
    encoding
}

fn decoded(wire: Wire, encoding: &[u8], len: u64) -> Vec<u8> {
    let codec = Codec::portable(wire).expect("a wire format");
    assert_eq!(encoding.len() as u64, wire.encoded(len), "an encoding of another length");
    let mut elements = vec![0; len as usize];
    // SAFETY: two arrays, the first as long as the second's encoding.
    unsafe { codec.decode(encoding.as_ptr(), elements.as_mut_ptr(), 0, elements.len() / 4) };
    elements
}
