//! Structs that begin with their own size, so that programs and libraries of different age fit.
//!
//! A program says how large its header knew the struct. A shorter one, of an older header, leaves the
//! newer fields at their defaults. A longer one, of a newer header, is taken only while everything
//! behind the last field known here is zero, that is, unset: a wish that this library cannot even see
//! must not be passed over in silence.

use kirsh_core::Result;

use crate::boundary::{invalid, require};

/// Sizes beyond this are no struct but memory that was never set up, and are not read. The largest
/// struct of the header has some 100 bytes.
const STRUCT_BYTES_MAX: usize = 4096;

/// The structs of this interface consist of 8-byte fields and pairs of 4-byte ones, so that growing
/// one never cuts a field in two: every true size is a multiple of this.
const STRUCT_BYTES_STEP: usize = 8;

/// A plain C struct whose first field is a `usize` with its size.
///
/// # Safety
/// The type is `repr(C)` without padding, begins with a `usize`, and every bit pattern of every field
/// is valid.
pub(crate) unsafe trait SizedStruct: Copy {
    /// The struct with every field at its default and `size` set.
    const INIT: Self;
}

/// Takes a struct in. `name` is that of the argument, `init` the macro to recommend.
///
/// # Safety
/// `pointer` is null or points to as many readable bytes as its first 8, read as a number, say.
pub(crate) unsafe fn read<T: SizedStruct>(pointer: *const T, name: &str, init: &str) -> Result<T> {
    require(pointer, name)?;
    // SAFETY: the caller's struct begins with its size and has at least that field.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    check_size::<T>(size, name, init)?;
    let known = size.min(size_of::<T>());
    let mut value = T::INIT;
    // SAFETY: `known` bytes are readable by the caller's word and fit into `value`, whose fields
    // accept any bits by the contract of the trait; the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
    }
    for offset in known..size {
        // SAFETY: below `size`, so readable by the caller's word.
        let byte = unsafe { pointer.cast::<u8>().add(offset).read() };
        if byte != 0 {
            return Err(invalid(format!(
                "{name} sets a field at byte {offset} that libkirsh {} does not know: it was \
                 compiled with a newer kirsh.h",
                env!("CARGO_PKG_VERSION")
            )));
        }
    }
    Ok(value)
}

/// Gives a struct out: as much of it as the caller's header knows, zeros behind what is known here.
/// The caller's `size` stays.
///
/// # Safety
/// `pointer` is null or points to as many writable bytes as its first 8, read as a number, say.
pub(crate) unsafe fn write<T: SizedStruct>(
    pointer: *mut T,
    value: &T,
    name: &str,
    init: &str,
) -> Result<()> {
    require(pointer, name)?;
    // SAFETY: the caller's struct begins with its size and has at least that field.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    check_size::<T>(size, name, init)?;
    let known = size.min(size_of::<T>());
    let head = size_of::<usize>();
    // SAFETY: bytes from `head` to `known` lie in both structs, and those from `known` to `size` in
    // the caller's, by its word; a value of ours does not overlap the caller's memory.
    unsafe {
        let target = pointer.cast::<u8>();
        let source = std::ptr::from_ref(value).cast::<u8>();
        std::ptr::copy_nonoverlapping(source.add(head), target.add(head), known - head);
        target.add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// Gives structs out that lie one behind the other, as [`write()`] does each: nothing unless the sizes of all
/// of them are right and the same.
///
/// # Safety
/// `pointer` points to as many structs as there are values, one after the other at the distance that the
/// first 8 bytes of the first say, each writable for so many bytes.
pub(crate) unsafe fn write_all<T: SizedStruct>(
    pointer: *mut T,
    values: &[T],
    name: &str,
    init: &str,
) -> Result<()> {
    require(pointer, name)?;
    // SAFETY: the first struct begins with its size.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    check_size::<T>(size, name, init)?;
    let entry = |index: usize| pointer.cast::<u8>().wrapping_add(index * size).cast::<T>();
    for index in 1..values.len() {
        // SAFETY: by the caller's word there is a struct here, at least as long as its size's field.
        let own = unsafe { entry(index).cast::<usize>().read_unaligned() };
        if own != size {
            return Err(invalid(format!(
                "{name}[{index}].size is {own}, and {name}[0].size is {size}: start each from {init}"
            )));
        }
    }
    for (index, value) in values.iter().enumerate() {
        // SAFETY: the caller's promise about each entry, whose size has been found to be right.
        unsafe { write(entry(index), value, name, init) }?;
    }
    Ok(())
}

fn check_size<T>(size: usize, name: &str, init: &str) -> Result<()> {
    let plausible = size >= size_of::<usize>()
        && size <= STRUCT_BYTES_MAX
        && size.is_multiple_of(STRUCT_BYTES_STEP);
    if plausible {
        return Ok(());
    }
    Err(invalid(format!(
        "{name}->size is {size} where {} is usual: start from {init}, which sets it",
        size_of::<T>()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Small {
        size: usize,
        first: i64,
        second: i64,
    }

    // SAFETY: three 8-byte integers, no padding.
    unsafe impl SizedStruct for Small {
        const INIT: Self = Small { size: size_of::<Small>(), first: -1, second: -2 };
    }

    fn read_words(words: &[u64]) -> Result<Small> {
        // SAFETY: each test passes at least as many words as the first one claims, or a size that is
        // refused before anything else is read.
        unsafe { read(words.as_ptr().cast(), "config", "KIRSH_CONFIG_INIT") }
    }

    #[test]
    fn a_struct_of_an_older_header_leaves_newer_fields_at_their_defaults() {
        let value = read_words(&[16, 7]).unwrap();
        assert_eq!((value.first, value.second), (7, -2));
        let value = read_words(&[8]).unwrap();
        assert_eq!((value.first, value.second), (-1, -2));
    }

    #[test]
    fn a_struct_of_a_newer_header_is_taken_while_its_new_fields_are_unset() {
        let value = read_words(&[40, 7, 8, 0, 0]).unwrap();
        assert_eq!((value.first, value.second), (7, 8));
        let error = read_words(&[40, 7, 8, 0, 1 << 56]).unwrap_err();
        assert!(error.message().contains("config sets a field at byte 39"), "{error}");
    }

    #[test]
    fn sizes_that_no_struct_has_are_refused_before_anything_is_read() {
        for size in [0, 4, 7, 20, 4097, 5000, u64::MAX] {
            let error = read_words(&[size, 0, 0]).unwrap_err();
            assert!(error.message().contains(&format!("config->size is {size}")), "{error}");
            assert!(error.message().contains("KIRSH_CONFIG_INIT"), "{error}");
        }
    }

    #[test]
    fn structs_one_behind_the_other_are_as_far_apart_as_the_callers_header_has_them() {
        let values = [5, 7].map(|first| Small { size: 24, first, second: first + 1 });
        for (given, expected) in [
            (vec![16, 0, 16, 0, 9], vec![16, 5, 16, 7, 9]),
            (vec![24, 0, 0, 24, 0, 0, 9], vec![24, 5, 6, 24, 7, 8, 9]),
            (vec![32, 0, 0, 9, 32, 0, 0, 9], vec![32, 5, 6, 0, 32, 7, 8, 0]),
        ] {
            let mut words: Vec<u64> = given;
            // SAFETY: the words hold two structs of the size that the first one claims.
            unsafe { write_all(words.as_mut_ptr().cast(), &values, "out", "INIT") }.unwrap();
            assert_eq!(words, expected);
        }
        let mut words: [u64; 6] = [24, 1, 1, 16, 1, 1];
        // SAFETY: as above.
        let written = unsafe { write_all(words.as_mut_ptr().cast(), &values, "out", "INIT") };
        assert!(written.unwrap_err().message().contains("out[1].size is 16"));
        assert_eq!(words, [24, 1, 1, 16, 1, 1], "nothing is written");
    }

    #[test]
    fn giving_out_writes_what_the_caller_knows_and_clears_what_it_alone_knows() {
        let value = Small { size: 24, first: 5, second: 6 };
        for (size, expected) in
            [(8, [8, 9, 9, 9]), (16, [16, 5, 9, 9]), (24, [24, 5, 6, 9]), (32, [32, 5, 6, 0])]
        {
            let mut words: [u64; 4] = [size, 9, 9, 9];
            // SAFETY: four words are writable, and the first claims at most four.
            unsafe { write(words.as_mut_ptr().cast(), &value, "out", "INIT") }.unwrap();
            assert_eq!(words, expected);
        }
    }
}
