//! Whether anything is alive in the process groups that the ranks lead.
//!
//! Signal 0 cannot tell, since it finds zombies alive, and the leaders are kept as zombies. So this
//! reads /proc.

use std::fs;

/// Whether a process of one of these groups lives. Where /proc cannot be read, no: the groups have
/// been signalled by then, and there is nothing to wait for.
pub(super) fn any_alive(leaders: impl Iterator<Item = i32>) -> bool {
    let leaders: Vec<i32> = leaders.collect();
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        is_process
            // A process that has gone since the listing has no state to read.
            && fs::read(entry.path().join("stat")).is_ok_and(|stat| {
                living_in(&stat).is_some_and(|group| leaders.contains(&group))
            })
    })
}

/// The group of a process, from its line in /proc, if it lives.
fn living_in(stat: &[u8]) -> Option<i32> {
    // The name, in parentheses, may hold anything, parentheses too; nothing behind it does.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_read_behind_any_name() {
        assert_eq!(living_in(b"7 (sh) S 1 42 42 0"), Some(42));
        assert_eq!(living_in(b"7 (a) R 9 (\xff) S 1 43 42 0"), Some(43));
        assert_eq!(living_in(b"7 (sh) Z 1 42 42 0"), None, "a zombie does not live");
        assert_eq!(living_in(b"7 (sh"), None);
    }
}
