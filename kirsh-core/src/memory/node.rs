//! On which memory node of the host a region's pages should lie.
//!
//! A page comes to be where the thread runs that first writes it, unless somebody has asked for
//! something else. The bytes of a receive may be written by a thread of the kernel's, on any
//! processor, so a region asks: for the node of the thread that makes it, which is the one that
//! drives.

use std::io;
use std::sync::OnceLock;

/// Where the kernel lists the nodes that have memory or processors now.
const ONLINE: &str = "/sys/devices/system/node/online";

/// Nodes that a mask has room for: as many as a kernel may be built for (`CONFIG_NODES_SHIFT` of 10).
const NODES_MAX: usize = 1024;

/// `MPOL_DEFAULT` and `MPOL_PREFERRED` of `linux/mempolicy.h`: no wish, and that one first and any
/// other where it is full.
const DEFAULT: i32 = 0;
const PREFERRED: i32 = 1;

/// Has the pages of a range, none of which has been written, lie near the calling thread, where the
/// host has several nodes and whoever started the process has no wish of its own (`numactl`). A wish
/// that the kernel does not grant changes nothing.
///
/// # Safety
/// The range is a mapping of the caller's, and begins on a page's boundary.
pub(super) unsafe fn prefer_own(start: *mut u8, len: usize) {
    if !has_several() || policy() != Ok(DEFAULT) {
        return;
    }
    // SAFETY: as the caller promises.
    let preferred = own().and_then(|node| unsafe { prefer(start, len, node) });
    if let Err(cause) = preferred {
        tracing::debug!("memory is taken from any node, since none can be preferred: {cause}");
    }
}

/// Whether this host has more than one node.
fn has_several() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| {
        // A kernel that knows of no nodes has one.
        let online = std::fs::read_to_string(ONLINE).unwrap_or_default();
        count(&online).is_some_and(|nodes| nodes > 1)
    })
}

/// How many nodes a list such as `0-3,8` names; `None` where it is no such list.
fn count(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0u32, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The node of the processor that the calling thread runs on.
fn own() -> io::Result<u32> {
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: the kernel writes two numbers, which outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, std::ptr::null_mut::<u8>())
    };
    if result == 0 { Ok(node) } else { Err(io::Error::last_os_error()) }
}

/// What the process asks for by default; the errno where the kernel does not say.
fn policy() -> Result<i32, i32> {
    let mut mode = -1i32;
    let nowhere = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel writes one number, which outlives the call, and no mask.
    let result = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nowhere, 0usize, nowhere, 0usize)
    };
    if result == 0 { Ok(mode) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// Has the pages of a range lie on this node while it has room.
///
/// # Safety
/// As for `prefer_own`.
unsafe fn prefer(start: *mut u8, len: usize, node: u32) -> io::Result<()> {
    const BITS: usize = u64::BITS as usize;
    let mut mask = [0u64; NODES_MAX / BITS];
    match mask.get_mut(node as usize / BITS) {
        Some(bits) => *bits |= 1 << (node as usize % BITS),
        None => return Err(io::ErrorKind::InvalidInput.into()),
    }
    // The kernel takes one bit less than it is told.
    let bits = NODES_MAX + 1;
    // SAFETY: the range is the caller's own mapping, the call changes no contents, and the mask, of
    // as many bits, outlives it.
    let result = unsafe {
        libc::syscall(libc::SYS_mbind, start, len, PREFERRED, mask.as_ptr(), bits, 0usize)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Region;

    #[test]
    fn nodes_are_counted_as_the_kernel_lists_them() {
        let lists = [("0\n", 1), ("0-1\n", 2), ("0,2\n", 2), ("0-3,8,10-11", 7), ("5-5", 1)];
        for (list, nodes) in lists {
            assert_eq!(count(list), Some(nodes), "{list:?}");
        }
        for list in ["", "\n", "-", "0-", "-1", "3-1", "0,,1", "x", "0-4294967295"] {
            assert_eq!(count(list), None, "{list:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "mbind is not among the calls that Miri knows")]
    fn a_preferred_node_is_the_policy_of_the_range_and_has_its_pages() {
        const NODE: usize = 1 << 0;
        const ADDR: usize = 1 << 1;
        let region = Region::new(1 << 16).unwrap();
        let ask = |flags: usize| {
            let mut mode = -1i32;
            let mut mask = [0u64; NODES_MAX / 64];
            // SAFETY: the kernel writes a number and a mask of as many bits, which outlive the call,
            // and looks at a page that the region has.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_get_mempolicy,
                    &raw mut mode,
                    mask.as_mut_ptr(),
                    NODES_MAX,
                    region.as_ptr(),
                    flags,
                )
            };
            (result, mode, mask[0])
        };
        // SAFETY: the region's own range.
        match unsafe { prefer(region.as_ptr(), region.len(), 0) } {
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                eprintln!("skipped: mbind cannot be used here: {cause}");
                return;
            }
            other => other.unwrap(),
        }
        assert_eq!(ask(ADDR), (0, PREFERRED, 1));
        // SAFETY: in the region, which nobody else uses.
        unsafe { *region.as_ptr() = 1 };
        let (result, node, _) = ask(ADDR | NODE);
        assert_eq!((result, node), (0, 0));
        // SAFETY: the region's own range; a node that no kernel has.
        assert!(unsafe { prefer(region.as_ptr(), region.len(), NODES_MAX as u32) }.is_err());
    }

    #[test]
    #[cfg_attr(miri, ignore = "getcpu is not among the calls that Miri knows")]
    fn a_thread_runs_on_a_node_that_is_online() {
        let online = std::fs::read_to_string(ONLINE).unwrap_or_else(|_| "0".to_owned());
        assert!(count(&online).is_some_and(|nodes| nodes >= 1), "{online:?}");
        assert!((own().unwrap() as usize) < NODES_MAX);
    }
}
