//! A communicator's further channels: made when a call is first cut into so many parts, closed with
//! the communicator.
//!
//! On the wire each is a communicator of its own, whose number follows from the first one's (P-58).
//! So links, control messages and goodbyes, all of which name a communicator and none a channel, find
//! the right one without knowing of channels.

use super::group::pool;
use super::plans::Ready;
use super::{CLOSE_PATIENCE, Inner};
use crate::driver::channel::{self, Channel, Further};
use crate::driver::job::{Buffers, Job};
use crate::driver::lane::Makings;
use crate::driver::members::Members;
use crate::driver::parts::{Handover, Parts};
use crate::error::{Error, Result};
use crate::session::{Alias, Operation, Settings};

impl Inner {
    /// Where a call is cut, sees that the channels are there, and makes of the operation and the job
    /// of the whole call those of its first part.
    pub(super) fn cut(
        &self,
        ready: &Ready,
        operation: &mut Operation,
        job: &mut Job,
    ) -> Result<Option<Parts>> {
        let Some(cut) = &ready.cut else { return Ok(None) };
        self.channels.have(cut.list.len() as u32 - 1, |number| self.make_channel(number))?;
        let (buffers, alias): (Buffers, Alias) = (job.buffers.clone(), operation.alias);
        let (list, blocks, block) = (cut.list.clone(), cut.blocks, cut.block);
        let parts = Parts { list, buffers, alias, blocks, block };
        parts.shape(0, operation, job);
        Ok(Some(parts))
    }

    pub(super) fn handover<'a>(&'a self, parts: &'a Parts) -> Handover<'a> {
        Handover { parts, channels: &self.channels }
    }

    pub(super) fn make_channel(&self, number: u16) -> Result<Channel> {
        let first = &self.lane;
        let driver = self.process.start_driver(number)?;
        let settings = Settings {
            communicator: channel::key_of(first.key, number).0,
            ..self.settings.clone()
        };
        let makings = Makings {
            members: Members::new(Vec::from(first.members.world_ranks())),
            pool: pool(self.size),
            priority: first.priority,
            stripes_near: self.plans.forced().stripes.is_some(),
            rails: first.rails().cloned(),
            spin_ns: first.spin_ns,
            zero_copy: first.sending.zero_copy,
            further: Some(Further {
                number,
                first: first.key,
                family: first.family.clone(),
                bell: driver.bell.clone(),
            }),
        };
        let lane = self.process.open_lane(settings, makings)?;
        Ok(driver.on(lane))
    }

    /// Closes them as the first one is closed.
    pub(super) fn close_channels(&self) -> Result<()> {
        let mut outcome = Ok(());
        self.channels.close();
        for channel in self.channels.iter() {
            let (finished, closed) = channel.lane.close(CLOSE_PATIENCE);
            self.process.close_lane(&channel.lane, finished);
            channel.end();
            outcome = outcome.and(closed);
        }
        outcome
    }

    /// The error that a failed collective is reported with: where several channels have failed, what
    /// the first of them failed with.
    pub(super) fn first_cause(&self, error: Error) -> Error {
        match self.lane.family.first_cause() {
            // What it was about may be known to another channel alone.
            Some(cause) if self.channels.iter().next().is_some() => {
                let cause = cause.clone();
                match (cause.sequence() == error.sequence(), error.operation()) {
                    (true, Some(operation)) => cause.with_operation(operation, error.sequence()),
                    _ => cause,
                }
            }
            _ => error,
        }
    }
}
