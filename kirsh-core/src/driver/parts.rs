//! A call that several channels carry out: what each of them does, and how they get it.

use std::sync::Arc;

use super::channel::Channels;
use super::completion::Completion;
use super::job::{Buffers, Cut, Job};
use crate::plan::Plan;
use crate::session::{Alias, Operation};
use crate::types::Sequence;

/// What one channel does of a call: the same whichever arrays the call has.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) plan: Arc<dyn Plan>,
    /// What it has of each block of the arrays, in bytes.
    pub(crate) begin: u64,
    pub(crate) len: u64,
    /// Where in the larger array of the part the smaller one begins, in place.
    pub(crate) own: u64,
}

/// All parts of a call, on its arrays. The first is the communicator's own, the others are for its
/// further channels, in order.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) list: Arc<[Part]>,
    /// Of the whole call.
    pub(crate) buffers: Buffers,
    pub(crate) alias: Alias,
    /// Blocks of the input, and of the output.
    pub(crate) blocks: (u64, u64),
    /// Bytes of a block.
    pub(crate) block: u64,
}

impl Parts {
    /// How many further channels have one.
    pub(crate) fn others(&self) -> u32 {
        self.list.len().saturating_sub(1) as u32
    }

    /// Makes of an operation and a job of this call those of one of its parts.
    pub(crate) fn shape(&self, index: usize, operation: &mut Operation, job: &mut Job) {
        let Part { plan, begin, len, own } = &self.list[index];
        operation.plan = Arc::clone(plan);
        operation.alias = match self.alias {
            Alias::None => Alias::None,
            Alias::InputInOutput(_) => Alias::InputInOutput(*own),
            Alias::OutputInInput(_) => Alias::OutputInInput(*own),
        };
        job.scratch_len = plan.scratch_len();
        job.encoded_len = plan.encoded_len();
        let (begin, len) = (*begin, *len);
        job.buffers =
            self.buffers.part(&Cut { blocks: self.blocks, block: self.block, begin, len });
    }
}

/// The parts for further channels on their way there.
#[derive(Clone, Copy)]
pub(crate) struct Handover<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) channels: &'a Channels,
}

impl Handover<'_> {
    /// Puts each part into its channel's mailbox, under the number that the first part has. For whoever
    /// gives out numbers, before the next one: so the order is the same on all channels.
    pub(crate) fn put(
        &self,
        sequence: Sequence,
        operation: &Operation,
        job: &Job,
        completion: &Arc<Completion>,
    ) {
        for index in 1..self.parts.list.len() {
            let (mut operation, mut job) = (operation.clone(), job.clone());
            self.parts.shape(index, &mut operation, &mut job);
            (job.sequence, job.completion) = (sequence, Some(Arc::clone(completion)));
            self.channels.of(index).put_part(operation, job);
        }
    }

    /// Wakes the channels, once no mailbox is locked.
    pub(crate) fn announce(&self) {
        for index in 1..self.parts.list.len() {
            self.channels.of(index).announce();
        }
    }
}
