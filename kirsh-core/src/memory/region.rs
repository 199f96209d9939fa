//! A run of pages straight from the kernel.

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};

use super::node;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::REGION_HUGE_MIN;

/// Whole pages of zeroed memory that belong to nobody else.
///
/// Pages come into being when they are first written, so a region costs address space until it is
/// used. The kernel is asked to use huge pages where the region is large
/// ([`REGION_HUGE_MIN`](crate::limits::REGION_HUGE_MIN)), and on a host with several memory nodes to
/// take them from that of the thread which makes the region. Dropping it gives the memory back: who
/// lends a part of it, to the kernel or to another thread, must hold the region until that part
/// has come home.
pub struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address and a length. It owns the pages, whichever thread holds it, and
// hands out nothing but raw pointers, whose users see to their own ordering.
unsafe impl Send for Region {}
// SAFETY: as above; no method changes anything.
unsafe impl Sync for Region {}

impl Region {
    /// Maps at least `len` bytes, rounded up to whole pages, at least one. Does not block.
    ///
    /// # Errors
    /// `InvalidArgument` where no address space could hold it, `System` where the kernel refuses.
    pub fn new(len: usize) -> Result<Region> {
        let page = page_bytes();
        let rounded = len.max(1).checked_next_multiple_of(page);
        let Some(len) = rounded.filter(|&len| isize::try_from(len).is_ok()) else {
            let message = format!("a region of {len} bytes is more than an address space holds");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory
        // that exists.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let start = match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => start,
            _ => return Err(refused(len, &io::Error::last_os_error())),
        };
        if len >= REGION_HUGE_MIN {
            // Advice only: a kernel built without huge pages refuses, and the region works as well.
            // SAFETY: the range is the mapping just made; the advice changes no contents.
            unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the range is the mapping just made, of which no page has been written.
        unsafe { node::prefer_own(start.as_ptr(), len) };
        Ok(Region { start, len })
    }

    /// The first byte, on a page's boundary.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes, a multiple of the page size and never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, unmapped once. Whoever uses a part of it
        // holds the region, so nobody does any more.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "munmap of a mapping that was there");
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({:p}, {} bytes)", self.start, self.len)
    }
}

fn refused(len: usize, cause: &io::Error) -> Error {
    Error::system(
        format_args!(
            "mapping {len} bytes of memory (limits: `ulimit -v`, the cgroup's memory.max, \
             vm.overcommit_memory, vm.max_map_count)"
        ),
        cause,
    )
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // Linux always knows its page size; the fallback is the largest one it uses.
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(65_536)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_whole_zeroed_writable_pages() {
        let page = page_bytes();
        for (asked, given) in [(0, page), (1, page), (page, page), (page + 1, 2 * page)] {
            let region = Region::new(asked).unwrap();
            assert_eq!(region.len(), given);
            assert_eq!(region.as_ptr().addr() % page, 0);
            for at in 0..given {
                // SAFETY: `at` lies in the region, which nobody else uses.
                let byte = unsafe { &mut *region.as_ptr().add(at) };
                assert_eq!(*byte, 0);
                *byte = 0xff;
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "madvise is not among the calls that Miri knows")]
    fn a_large_region_is_advised_to_use_huge_pages() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            eprintln!("skipped: this kernel has no transparent huge pages");
            return;
        }
        for (len, advised) in [(REGION_HUGE_MIN, true), (REGION_HUGE_MIN / 2, false)] {
            let region = Region::new(len).unwrap();
            let flags = vm_flags(region.as_ptr().addr());
            assert_eq!(flags.split_whitespace().any(|flag| flag == "hg"), advised, "{flags}");
        }
    }

    /// The kernel's flags of the mapping that an address lies in.
    fn vm_flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let holds = |line: &&str| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let parsed = range.map(|(start, end)| {
                (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            });
            matches!(parsed, Some((Ok(start), Ok(end))) if (start..end).contains(&address))
        };
        let mut entry = maps.lines().skip_while(|line| !holds(line));
        entry.find(|line| line.starts_with("VmFlags:")).expect("a mapping there").to_string()
    }

    #[test]
    fn an_impossible_region_is_an_error_that_names_its_size() {
        let error = Region::new(usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(&usize::MAX.to_string()), "{error}");
        // Fits a pointer's difference, but no machine's address space.
        let error = Region::new(1 << 62).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System);
        assert!(error.message().contains("ulimit"), "{error}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand system calls")]
    fn dropping_a_region_gives_its_pages_back() {
        // Together more than the 128 TiB of addresses that a process has.
        const LEN: usize = 1 << 30;
        if Region::new(LEN).is_err() {
            eprintln!("skipped: this machine commits less than 1 GiB of address space");
            return;
        }
        for _ in 0..140_000 {
            Region::new(LEN).expect("those before were given back");
        }
    }
}
