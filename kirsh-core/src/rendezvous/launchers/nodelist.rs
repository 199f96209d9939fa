//! Slurm's lists of nodes, as in `rack[0-1]n[01-16,20],login`.

/// The first node of a list; `None` where the text is none.
///
/// A bracket holds numbers and ranges, comma separated, of which the first counts; zeros in front
/// belong to the name.
pub(super) fn first(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list.trim();
    loop {
        let at = rest.find(['[', ']', ',']).unwrap_or(rest.len());
        host.push_str(&rest[..at]);
        if !rest[at..].starts_with('[') {
            let closed = !rest[at..].starts_with(']');
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            return (closed && !host.is_empty() && host.chars().all(fits)).then_some(host);
        }
        let (inside, behind) = rest[at + 1..].split_once(']')?;
        let number = inside.split([',', '-']).next()?;
        if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        host.push_str(number);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn the_first_node_of_a_list_is_expanded() {
        let cases = [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("node[01-16]", "node01"),
            ("node[007,9-11],other", "node007"),
            ("rack[2-3]n[04,05]", "rack2n04"),
            ("gpu-[10-12].cluster.org,x", "gpu-10.cluster.org"),
            ("login,node[1-2]", "login"),
        ];
        for (list, node) in cases {
            assert_eq!(first(list).as_deref(), Some(node), "{list}");
        }
    }

    #[test]
    fn what_is_no_list_gives_no_node() {
        for list in ["", ",n1", "n[1-2", "n]1", "n[]", "n[-2]", "n[a-b]", "n 1", "n1/x", "n[1[2]]"]
        {
            assert_eq!(first(list), None, "{list}");
        }
    }
}
