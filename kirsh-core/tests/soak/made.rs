//! A call's arrays on one rank, in place or not, each in one run of memory or in several.

use kirsh_core::Collective;

use super::common::Random;
use super::drawn::Drawn;

/// How a call's arrays lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    Apart,
    /// One array that is both.
    Same,
    /// The input at its own part of the output, so many bytes from its start.
    InputInOutput(usize),
    /// The output at its own part of the input.
    OutputInInput(usize),
}

/// A call and its arrays, each in one run or in several.
pub(crate) struct Made {
    drawn: Drawn,
    lie: Lie,
    input: Vec<Vec<u8>>,
    output: Vec<Vec<u8>>,
}

impl Made {
    pub(crate) fn new(drawn: Drawn, rank: u32, own: &mut Random) -> Self {
        use Collective::*;
        let (size, input) = (drawn.call().dtype.size(), drawn.input(rank));
        let output = vec![0x5a; drawn.output_len(rank)];
        let is_root = drawn.call().root == rank;
        let part = drawn.params(rank).own_part(rank).unwrap_or(0) as usize * size;
        let in_place = own.below(2) == 0;
        let (lie, input, output) = match drawn.call().collective {
            Broadcast => (Lie::Same, Vec::new(), input),
            Allreduce | Scan | Exscan | Alltoall if in_place => (Lie::Same, Vec::new(), input),
            Reduce if in_place && is_root => (Lie::Same, Vec::new(), input),
            Allgather | Allgatherv | Gather | Gatherv if in_place && !output.is_empty() => {
                let mut output = output;
                output[part..part + input.len()].copy_from_slice(&input);
                (Lie::InputInOutput(part), Vec::new(), output)
            }
            ReduceScatter | ReduceScatterv | Scatter | Scatterv
                if in_place && !input.is_empty() =>
            {
                (Lie::OutputInInput(part), input, Vec::new())
            }
            _ => (Lie::Apart, input, output),
        };
        // Some lie in several runs, each with memory of its own.
        let mut runs = |array: Vec<u8>| match lie {
            Lie::Apart | Lie::Same if own.below(3) == 0 => cut(own, &array, size),
            _ => vec![array],
        };
        let (input, output) = (runs(input), runs(output));
        Made { drawn, lie, input, output }
    }

    /// The runs of what is sent and of what is received.
    pub(crate) fn runs(&mut self) -> [Vec<(*mut u8, usize)>; 2] {
        let size = self.drawn.call().dtype.size();
        let runs = |array: &mut Vec<Vec<u8>>| {
            array.iter_mut().map(|run| (run.as_mut_ptr(), run.len() / size)).collect::<Vec<_>>()
        };
        let (input, output) = (runs(&mut self.input), runs(&mut self.output));
        match self.lie {
            Lie::Apart => [input, output],
            Lie::Same => [output.clone(), output],
            Lie::InputInOutput(part) => {
                [vec![(output[0].0.wrapping_add(part), usize::MAX)], output]
            }
            Lie::OutputInInput(part) => {
                let inside = input[0].0.wrapping_add(part);
                [input, vec![(inside, usize::MAX)]]
            }
        }
    }

    pub(crate) fn verify(&self, index: u64, rank: u32) {
        let drawn = &self.drawn;
        let expected = drawn.result(rank);
        let (input, output) = (self.input.concat(), self.output.concat());
        let result = match self.lie {
            Lie::OutputInInput(part) => &input[part..part + expected.len()],
            _ => &output,
        };
        // What an exscan leaves as it was.
        let untouched = drawn.call().collective == Collective::Exscan && rank == 0;
        let due = match self.lie {
            Lie::Same if untouched => drawn.input(rank),
            _ if untouched => vec![0x5a; expected.len()],
            _ => expected,
        };
        let differs = result.iter().zip(&due).position(|(got, due)| got != due);
        assert!(
            differs.is_none() && result.len() == due.len(),
            "call {index}, {:?}, {:?}: differs at byte {differs:?}",
            drawn.params(rank),
            self.lie
        );
        if let Lie::Apart = self.lie {
            assert!(input == drawn.input(rank), "call {index} has changed its input");
        }
    }
}

/// An array in up to five runs of whole elements, some of them empty.
fn cut(random: &mut Random, array: &[u8], size: usize) -> Vec<Vec<u8>> {
    let elements = (array.len() / size) as u64;
    let mut ends: Vec<_> = (0..4).map(|_| random.below(elements + 1) as usize * size).collect();
    ends.extend([0, array.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| array[pair[0]..pair[1]].to_vec()).collect()
}
