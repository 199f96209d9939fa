//! Shapes and strides, and which of them cover memory without gaps.

/// How the elements of an array lie in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    shape: Vec<usize>,
    /// Bytes from one element to the next along each dimension.
    strides: Vec<isize>,
}

impl Layout {
    /// Both of one length.
    pub(crate) fn new(shape: Vec<usize>, strides: Vec<isize>) -> Self {
        debug_assert_eq!(shape.len(), strides.len());
        Layout { shape, strides }
    }

    /// Row by row (C order). `None` where the array would be larger than any memory.
    pub(crate) fn row_major(shape: Vec<usize>, item_size: usize) -> Option<Self> {
        let mut strides = vec![0; shape.len()];
        let mut stride = isize::try_from(item_size).ok()?;
        for (length, target) in shape.iter().zip(&mut strides).rev() {
            *target = stride;
            stride = stride.checked_mul(isize::try_from((*length).max(1)).ok()?)?;
        }
        Some(Layout { shape, strides })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the elements lie row by row (C order), without gaps.
    pub(crate) fn is_row_major(&self, item_size: usize) -> bool {
        Layout::row_major(self.shape.clone(), item_size).is_some_and(|rows| rows.same_as(self))
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements, in some order of the dimensions, fill one run of memory from the
    /// first element's address upwards, each byte once. C and Fortran order do, and so does any
    /// transposition of them.
    pub(crate) fn is_dense(&self, item_size: usize) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut steps: Vec<(isize, usize)> = self.steps().collect();
        steps.sort_unstable();
        let mut expected = item_size as isize;
        for (stride, length) in steps {
            if stride != expected {
                return false;
            }
            let Some(next) = isize::try_from(length).ok().and_then(|n| expected.checked_mul(n))
            else {
                return false;
            };
            expected = next;
        }
        true
    }

    /// Whether equal indices lie at equal offsets in both. Strides that no index ever takes, as
    /// along dimensions of length 1, do not count.
    pub(crate) fn same_as(&self, other: &Layout) -> bool {
        self.shape == other.shape && (self.shape.contains(&0) || self.steps().eq(other.steps()))
    }

    pub(crate) fn same_shape_as(&self, other: &Layout) -> bool {
        self.shape == other.shape
    }

    /// "shape (3, 4) and strides (32, 8)", as Python would print them.
    pub(crate) fn describe(&self) -> String {
        format!("shape {} and strides {} in bytes", tuple(&self.shape), tuple(&self.strides))
    }

    pub(crate) fn describe_shape(&self) -> String {
        tuple(&self.shape)
    }

    /// Stride and length of every dimension that is more than one element long.
    fn steps(&self) -> impl Iterator<Item = (isize, usize)> + '_ {
        self.strides.iter().copied().zip(self.shape.iter().copied()).filter(|&(_, n)| n > 1)
    }
}

/// Numbers as a Python tuple shows them.
pub(crate) fn tuple<T: ToString>(values: &[T]) -> String {
    let inner: Vec<String> = values.iter().map(T::to_string).collect();
    match inner.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", inner.join(", ")),
    }
}
