//! The sources, and what is code in them.

use std::fs;
use std::path::Path;

/// Where sources are, from the root of the repository.
const PLACES: [&str; 9] = [
    "kirsh-core/src",
    "kirsh-core/tests",
    "kirsh-ffi",
    "python/src",
    "python/kirsh",
    "include",
    "benches",
    "examples",
    "fuzz/fuzz_targets",
];

const ENDINGS: [&str; 6] = ["rs", "py", "h", "hpp", "c", "cpp"];

/// One file.
pub(crate) struct Source {
    /// From the root of the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without comments and the content of literals; lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { code_of(text) } else { String::new() };
        Source { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is compiled for tests alone.
    pub(crate) fn is_test(&self) -> bool {
        let (folders, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = name.split('.').next().unwrap_or(name);
        folders.split('/').any(|folder| folder == "tests")
            || matches!(stem, "tests" | "strategies")
            || stem.ends_with("_tests")
    }

    /// Lines of code with their numbers, without modules that are for tests alone.
    pub(crate) fn lines(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut depth_in_tests: Option<i64> = None;
        let mut test_next = false;
        for (number, line) in (1..).zip(self.code.lines()) {
            if let Some(depth) = &mut depth_in_tests {
                *depth += balance(line);
                if *depth <= 0 {
                    depth_in_tests = None;
                }
                continue;
            }
            if test_next && line.trim_start().starts_with("mod ") && line.contains('{') {
                depth_in_tests = Some(balance(line)).filter(|depth| *depth > 0);
                test_next = false;
                continue;
            }
            test_next = line.trim() == "#[cfg(test)]" || (test_next && line.trim().is_empty());
            lines.push((number, line));
        }
        lines
    }

    /// A complaint about one line.
    pub(crate) fn complain(&self, number: usize, what: &str) -> String {
        format!("{}:{number}: {what}", self.path)
    }
}

fn balance(line: &str) -> i64 {
    line.chars().fold(0, |depth, c| match c {
        '{' => depth + 1,
        '}' => depth - 1,
        _ => depth,
    })
}

/// Every file that people write.
pub(crate) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace around it");
    let mut sources = Vec::new();
    for place in PLACES {
        collect(&root.join(place), root, &mut sources);
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    sources
}

fn collect(at: &Path, root: &Path, into: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(at) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != "build") {
                collect(&path, root, into);
            }
        } else if path
            .extension()
            .and_then(|end| end.to_str())
            .is_some_and(|e| ENDINGS.contains(&e))
        {
            let text = fs::read_to_string(&path).expect("a readable source");
            let from_root = path.strip_prefix(root).expect("below the root");
            into.push(Source::new(&from_root.to_string_lossy(), &text));
        }
    }
}

/// Blanks comments and the content of strings and characters.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    // Leaves out up to `end`, but keeps the lines.
    let blank = |code: &mut String, from: usize, end: usize| {
        code.extend(chars[from..end.min(chars.len())].iter().filter(|c| **c == '\n'));
    };
    while at < chars.len() {
        let rest = &chars[at..];
        let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let end = match rest {
            ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => at + block_comment(rest),
            ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if !after_word => {
                match raw_string(rest) {
                    Some(length) => at + length,
                    None => at,
                }
            }
            ['"', ..] => at + string(rest),
            ['\'', '\\', ..] => {
                at + 2 + rest[2..].iter().skip(1).position(|c| *c == '\'').unwrap_or(0) + 2
            }
            ['\'', _, '\'', ..] => at + 3,
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            blank(&mut code, at, end);
            at = end;
        }
    }
    code
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string(rest: &[char]) -> Option<usize> {
    let start = rest.iter().position(|c| *c == 'r')? + 1;
    let hashes = rest[start..].iter().take_while(|c| **c == '#').count();
    if rest.get(start + hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.resize(1 + hashes, '#');
    let body = start + hashes + 1;
    let length = rest[body..].windows(end.len()).position(|window| window == end)?;
    Some(body + length + end.len())
}

/// Where a word stands in a line, as a word.
pub(crate) fn words(line: &str, word: &str) -> Vec<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !line[..*at].ends_with(inside) && !line[at + word.len()..].starts_with(inside))
        .collect()
}

#[test]
fn only_code_is_left_and_lines_stay() {
    let text = "let a = \"unsafe // {\"; // unsafe\n/* un\n/* safe */ */ let b = '{'; let c: &'a str = r#\"x\"}\"#;\n'\\''; \
                '\\u{7b}'; b\"{\"; d\n";
    let code = code_of(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains("unsafe") && !code.contains("safe */"), "{code}");
    assert_eq!(code.matches(['{', '}']).count(), 0, "{code}");
    assert!(code.contains("let c: &'a str = ;") && code.ends_with("d\n"), "{code}");
}

#[test]
fn modules_for_tests_are_left_out() {
    let text = "a\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nc\n#[cfg(test)]\nmod d;\ne\n";
    let source = Source::new("x.rs", text);
    let lines: Vec<&str> = source.lines().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["a", "#[cfg(test)]", "c", "#[cfg(test)]", "mod d;", "e"]);
}
