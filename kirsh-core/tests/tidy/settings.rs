//! Every environment variable that is documented is read, and no other is named.

use crate::source::{Source, words};

const SETTINGS: &str = "kirsh-core/src/rendezvous/settings.rs";

/// What begins like a variable and is none: names of the C interface.
const NOT_VARIABLES: [&str; 2] = ["KIRSH_FOREVER", "KIRSH_PENDING"];

/// One setting, as its table declares it.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    constant: String,
    variable: String,
}

pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let Some(table) = sources.iter().find(|source| source.path == SETTINGS) else {
        return vec![format!("{SETTINGS} is not there")];
    };
    let declared = declared(&table.text);
    if declared.is_empty() {
        return vec![format!("{SETTINGS} declares nothing that this rule can read")];
    }
    // The command shows all settings; that is not the same as heeding one.
    let readers: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("kirsh-core/src/") && !source.is_test())
        .filter(|source| !source.path.starts_with("kirsh-core/src/cli/") && source.path != SETTINGS)
        .collect();
    let mut complaints = unread(&declared, table, &readers);
    for source in readers {
        complaints.extend(unknown(&declared, source));
    }
    complaints
}

/// The settings of the table: `RANK = "KIRSH_RANK", default ...`.
fn declared(text: &str) -> Vec<Declared> {
    let one = |line: &str| {
        let (constant, rest) = line.trim().split_once(" = \"KIRSH_")?;
        let (name, rest) = rest.split_once('"')?;
        let is_constant = constant.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        (is_constant && rest.starts_with(", default"))
            .then(|| Declared { constant: constant.to_owned(), variable: format!("KIRSH_{name}") })
    };
    text.lines().filter_map(one).collect()
}

/// Settings that nothing outside the table reads: neither themselves nor through a function there.
fn unread(declared: &[Declared], table: &Source, readers: &[&Source]) -> Vec<String> {
    let used = |name: &str| {
        let path = format!("settings::{name}");
        readers
            .iter()
            .any(|source| source.lines().iter().any(|(_, line)| !words(line, &path).is_empty()))
    };
    let functions = functions(&table.code);
    let mut complaints = Vec::new();
    for Declared { constant, variable } in declared {
        let read = format!("{constant}.read");
        let through = functions.iter().filter(|(_, body)| !words_in(body, &read).is_empty());
        if !used(constant) && !through.into_iter().any(|(name, _)| used(name)) {
            complaints.push(format!("{SETTINGS}: nothing reads {variable}"));
        }
    }
    complaints
}

/// `TOKEN.read` also stands for `TOKEN.read_if_set`, but not for `MY_TOKEN.read`.
fn words_in(body: &str, start: &str) -> Vec<usize> {
    let found = body.match_indices(start).map(|(at, _)| at);
    let whole = |at: &usize| !body[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    found.filter(whole).collect()
}

/// The functions at the top of a file, by name, with their text.
fn functions(code: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in code.lines() {
        let start = line.starts_with("pub").then(|| line.split_once("fn ")).flatten();
        if let Some((_, rest)) = start {
            let name = rest.split('(').next().unwrap_or(rest);
            found.push((name.to_owned(), String::new()));
        }
        if let Some((_, body)) = found.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

/// Names in messages and comments that no setting has: what was renamed, or never was.
fn unknown(declared: &[Declared], source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        for (at, _) in line.match_indices("KIRSH_") {
            let rest = &line[at..];
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            let known = declared.iter().any(|setting| setting.variable == name);
            if !known && name != "KIRSH_" && !NOT_VARIABLES.contains(&name) {
                complaints.push(source.complain(number, &format!("there is no variable {name}")));
            }
        }
    }
    complaints
}

#[test]
fn canary_a_setting_that_nobody_reads_is_found() {
    let text = "settings! {\n    RANK = \"KIRSH_RANK\", default \"\", parser p,\n    \
                SPIN = \"KIRSH_SPIN\", default \"1\", parser p,\n    \
                DEAD = \"KIRSH_DEAD\", default \"1\", parser p,\n}\n\
                pub fn spin() {\n    SPIN.read(env, p)\n}\npub fn dead() {\n    DEAD.read(env, p)\n}\n";
    let reader = "settings::spin(env)?; settings::RANK.set(env); // settings::dead(env)\n";
    let table = Source::new(SETTINGS, text);
    let reader = Source::new("kirsh-core/src/comm/create.rs", reader);
    let showing = Source::new("kirsh-core/src/cli/info.rs", "settings::dead(env)");
    assert_eq!(check(&[table, reader, showing]), [format!("{SETTINGS}: nothing reads KIRSH_DEAD")]);
}

#[test]
fn canary_a_variable_that_is_named_and_does_not_exist_is_found() {
    let table = Source::new(SETTINGS, "    RANK = \"KIRSH_RANK\", default \"\", parser p,\n");
    let text = "settings::RANK; // KIRSH_* or KIRSH_RANK\nlet hint = \"set KIRSH_RANKS\";\n";
    let user = Source::new("kirsh-core/src/comm/create.rs", text);
    let complaints = check(&[table, user]);
    assert!(complaints.len() == 1 && complaints[0].contains(":2: "), "{complaints:?}");
}
