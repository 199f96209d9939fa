//! Two binary trees at once, each for half of the array: broadcast, reduce and allreduce.
//!
//! Source: Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast, reduction
//! and scan" (Parallel Computing 35, 2009); the trees are numbered as NCCL numbers its own.
//!
//! Places are counted from the root, which stands above both trees (rank 0 in an allreduce). The
//! other `world - 1` places are numbered in order through the first tree, so that odd places are
//! its leaves. The second is the first seen from its other end, or turned by one place where the
//! number of places is odd, so that every place is a leaf of one of them at least. Each tree moves
//! one half of the array (the first all of it, where that is one slice), and so no rank sends more
//! than one array each way.
//!
//! Hops of a slice: `log2(world)` rounded up, twice that for an allreduce. Bytes sent per rank: to
//! rise, one array, none by the root; to fall, one array by the root, and by others half of one for
//! each child that they have in the tree that they are not a leaf of.
//!
//! Association: in either tree a place folds its own array with its lower child's sum and then
//! with its higher child's, `(x[v] + T[lower]) + T[higher]`; the root `x[root] + T[top]`.

use super::cut::{Piece, SCRATCH_SLICES, Shape};
use super::{Plan, Step};
use crate::types::{Rank, Span, Wire};

pub(super) struct DoubleTree {
    shape: Shape,
    /// The elements that each tree moves.
    halves: [(u64, u64); 2],
    /// Slices of the longer half.
    slices: u64,
    columns: Vec<Column>,
    /// Rows by which the first column that moves anything is behind the world's first.
    begin: u64,
    rows: u64,
    /// Where a partial result lies until it has been sent up.
    partials: Partials,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Partials {
    Output,
    Scratch,
}

/// What a rank does with one slice in every row, over one edge of one tree.
struct Column {
    tree: Tree,
    /// A slice's row on the world's clock, less the slice's own.
    lag: u64,
    peer: Rank,
    act: Act,
    /// Orders the columns of a row alike at both ends of an edge: see [`DoubleTree::new`].
    order: (u8, u32, u64, usize),
}

enum Act {
    Fold { first: bool, last: bool },
    Rise { untouched: bool },
    Land,
    Pass,
}

/// Which ways slices go.
#[derive(Clone, Copy)]
struct Ways {
    up: bool,
    down: bool,
}

impl DoubleTree {
    pub(super) fn broadcast(shape: Shape, root: Rank) -> Self {
        DoubleTree::new(shape, root, Ways { up: false, down: true }, Partials::Output)
    }

    pub(super) fn reduce(shape: Shape, root: Rank) -> Self {
        let partials = if shape.rank == root { Partials::Output } else { Partials::Scratch };
        DoubleTree::new(shape, root, Ways { up: true, down: false }, partials)
    }

    pub(super) fn allreduce(shape: Shape) -> Self {
        DoubleTree::new(shape, 0, Ways { up: true, down: true }, Partials::Output)
    }

    // All edges follow one clock. A slice takes an edge whose lower end is `depth` places below
    // the root `depth` rows before it gets to the root, or after it left. Within a row edges have
    // an order too: those that rise come first, the deepest of them first, then those that fall,
    // the deepest last. So every rank lists its steps in the order of one sequence of all frames,
    // and whichever of these is the first that has not moved, nothing holds it up.
    fn new(shape: Shape, root: Rank, ways: Ways, partials: Partials) -> Self {
        let Shape { world, rank, .. } = shape;
        let places = world - 1;
        let place = (rank + world - root) % world;
        let rank_at = |place: Rank| (place + root) % world;
        let height = places.checked_ilog2().map_or(0, |log| log + 1);
        let mut columns = Vec::with_capacity(8);
        for tree in [Tree::First, Tree::Second] {
            let node = Node::new(tree.number(place, places), places);
            let number = tree as u64;
            let edges =
                node.children.iter().enumerate().filter_map(|(child, at)| Some((child, (*at)?)));
            let children = edges.clone().count();
            let mut add = |rises: bool, depth: u32, child: usize, peer: Rank, act: Act| {
                let peer = rank_at(tree.place(peer, places));
                let lag = match (rises, ways.up) {
                    (true, _) => height - depth,
                    (false, true) => height + depth - 1,
                    (false, false) => depth - 1,
                };
                let order = if rises {
                    (0, height - depth, number, child)
                } else {
                    (1, depth, number, child)
                };
                columns.push(Column { tree, lag: lag.into(), peer, act, order });
            };
            if ways.up {
                for (nth, (child, at)) in edges.clone().enumerate() {
                    let last = node.parent.is_none() && nth + 1 == children;
                    add(true, node.depth + 1, child, at, Act::Fold { first: nth == 0, last });
                }
                if let Some(parent) = node.parent {
                    add(true, node.depth, 0, parent, Act::Rise { untouched: children == 0 });
                }
            }
            if ways.down {
                if let Some(parent) = node.parent {
                    add(false, node.depth, 0, parent, Act::Land);
                }
                for (child, at) in edges {
                    add(false, node.depth + 1, child, at, Act::Pass);
                }
            }
        }
        columns.sort_by_key(|column| column.order);
        // A single frame is not worth two.
        let middle = if shape.slices(shape.count) > 1 { shape.count / 2 } else { shape.count };
        let halves = [(0, middle), (middle, shape.count)];
        let slices = shape.slices(middle.max(shape.count - middle));
        let lags = columns.iter().map(|column| column.lag);
        let (begin, end) = (lags.clone().min().unwrap_or(0), lags.max().unwrap_or(0));
        let rows = if slices == 0 { 0 } else { slices + end - begin };
        DoubleTree { shape, halves, slices, columns, begin, rows, partials }
    }

    /// Where the partial result of a slice lies.
    fn partial(&self, piece: Piece, slice: u64) -> Span {
        match self.partials {
            Partials::Output => piece.output(),
            Partials::Scratch => piece.scratch((slice % SCRATCH_SLICES) * self.shape.slice_bytes()),
        }
    }
}

impl Plan for DoubleTree {
    fn len(&self) -> u64 {
        self.rows * self.columns.len() as u64
    }

    fn step(&self, index: u64) -> Option<Step> {
        let width = self.columns.len() as u64;
        let column = &self.columns[(index % width) as usize];
        let slice = (index / width + self.begin).checked_sub(column.lag)?;
        if slice >= self.slices {
            return None;
        }
        let piece = self.shape.piece(self.halves[column.tree as usize], self.slices, slice)?;
        let (peer, partial) = (column.peer, self.partial(piece, slice));
        Some(match column.act {
            Act::Fold { first, last } => {
                let with = if first { piece.input() } else { partial };
                Step::RecvReduce {
                    peer,
                    with,
                    into: partial,
                    finish: self.shape.finish(last),
                    wire: Wire::Plain,
                }
            }
            Act::Rise { untouched: true } => Step::Send { peer, source: piece.input() },
            Act::Rise { untouched: false } => Step::Send { peer, source: partial },
            Act::Land => Step::Recv { peer, target: piece.output() },
            Act::Pass => Step::Send { peer, source: piece.output() },
        })
    }

    fn scratch_len(&self) -> u64 {
        let folds = self.columns.iter().any(|column| matches!(column.act, Act::Fold { .. }));
        if self.partials == Partials::Output || !folds {
            return 0;
        }
        self.slices.min(SCRATCH_SLICES) * self.shape.slice_bytes()
    }
}

#[derive(Clone, Copy)]
enum Tree {
    First = 0,
    Second = 1,
}

impl Tree {
    /// The number that a place has in this tree; the root is 0 in both.
    fn number(self, place: Rank, places: Rank) -> Rank {
        match (self, place) {
            (Tree::First, _) | (_, 0) => place,
            _ if places.is_multiple_of(2) => places + 1 - place,
            (_, 1) => places,
            _ => place - 1,
        }
    }

    /// The place that has a number in this tree.
    fn place(self, number: Rank, places: Rank) -> Rank {
        match (self, number) {
            (Tree::First, _) | (_, 0) => number,
            _ if places.is_multiple_of(2) => places + 1 - number,
            _ if number == places => 1,
            _ => number + 1,
        }
    }
}

/// The neighbours of a number in the binary tree of `1..=places`, which are numbered in order,
/// with 0 above it all.
struct Node {
    parent: Option<Rank>,
    children: [Option<Rank>; 2],
    /// Edges between it and 0.
    depth: u32,
}

impl Node {
    fn new(number: Rank, places: Rank) -> Self {
        let mut depth = 0;
        let mut above = parent(number, places);
        while let Some(ancestor) = above {
            depth += 1;
            above = parent(ancestor, places);
        }
        // Whole subtrees of ever fewer places begin behind a number; the largest that there is.
        let below = if number == 0 { Rank::BITS } else { number.trailing_zeros() };
        let higher = (0..below).rev().map(|bit| (1 << bit) | number).find(|child| *child <= places);
        let lower = (number != 0 && below > 0).then(|| number - (1 << (below - 1)));
        Node { parent: parent(number, places), children: [lower, higher], depth }
    }
}

/// The number above another: that with the next higher bit, or without its lowest where that lies
/// beyond the last.
fn parent(number: Rank, places: Rank) -> Option<Rank> {
    if number == 0 {
        return None;
    }
    let bit = 1 << number.trailing_zeros();
    let without = number ^ bit;
    let with_next = without | (bit << 1);
    Some(if with_next <= places { with_next } else { without })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_root_nobody_has_children_in_both_trees_and_depth_is_logarithmic() {
        for places in (0..300).chain([1023, 1024, 1025]) {
            for place in 0..=places {
                let nodes = [Tree::First, Tree::Second].map(|tree| {
                    let number = tree.number(place, places);
                    assert_eq!(tree.place(number, places), place);
                    let node = Node::new(number, places);
                    for child in node.children.into_iter().flatten() {
                        assert_eq!(parent(child, places), Some(number), "{child} of {places}");
                    }
                    let up = node.parent.map(|above| Node::new(above, places).children);
                    assert!(up.is_none_or(|children| children.contains(&Some(number))));
                    assert!(node.depth <= places.checked_ilog2().map_or(0, |log| log + 1));
                    node
                });
                let inner = nodes.iter().filter(|node| node.children != [None, None]).count();
                assert!(place == 0 || inner <= 1, "place {place} of {places}");
            }
        }
    }
}
