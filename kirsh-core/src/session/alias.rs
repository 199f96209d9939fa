//! Input and output that share memory.

use crate::plan::Step;
use crate::types::{Space, Span};

/// Whether Input and Output share memory. What is local to a rank changes nothing on the wire: the
/// walker calls shared bytes by one name before it looks for conflicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alias {
    /// No byte is in both.
    #[default]
    None,
    /// Input is a part of Output and begins at this offset of it.
    InputInOutput(u64),
    /// Output is a part of Input and begins at this offset of it.
    OutputInInput(u64),
}

impl Alias {
    /// Calls everything that lies in both by the name of the larger.
    pub(super) fn rewrite(self, step: &mut Step) {
        let (from, to, offset) = match self {
            Alias::None => return,
            Alias::InputInOutput(offset) => (Space::Input, Space::Output, offset),
            Alias::OutputInInput(offset) => (Space::Output, Space::Input, offset),
        };
        let rewrite = |span: &mut Span| {
            if span.space == from {
                *span = Span::new(to, span.offset + offset, span.len);
            }
        };
        match step {
            Step::Send { source, .. } => rewrite(source),
            Step::Recv { target, .. } => rewrite(target),
            Step::RecvReduce { with, into, .. } | Step::Reduce { with, into, .. } => {
                rewrite(with);
                rewrite(into);
            }
            Step::Map { source, target, .. } => {
                rewrite(source);
                rewrite(target);
            }
        }
    }
}
