//! The facts as text for people: one heading to the left, what belongs to it beside it.

use std::fmt::Write;

use super::facts::{Facts, Token, Variable};
use super::host::{Cores, Limit};

/// The width of the headings.
const MARGIN: usize = 15;

/// All of it.
pub(super) fn text(facts: &Facts) -> String {
    let mut page = Page(format!("kirsh {}\n\n", facts.version));
    match &facts.driver {
        Some(driver) => {
            page.entry("driver", [format!("{}: {}", driver.name, driver.why)]);
            if !driver.features.is_empty() {
                page.entry("", [driver.features.join(" ")]);
            }
        }
        None => page.entry("driver", ["none: see the problems below".to_owned()]),
    }
    let host = &facts.host;
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or("unknown".to_owned());
    page.entry("host", [format!("{} (id {})", host.name, host.id)]);
    page.entry("kernel", [or_unknown(&host.kernel)]);
    page.entry("cores", [cores(&host.cores)]);
    page.entry("locked memory", [limit(host.locked_memory_bytes, " bytes (RLIMIT_MEMLOCK)")]);
    page.entry("descriptors", [limit(host.descriptors, " (RLIMIT_NOFILE)")]);
    page.entry("congestion", [or_unknown(&host.congestion_control)]);

    let line = |address: &super::facts::Address| {
        let why = address.left_out.map(|why| format!(" ({why})")).unwrap_or_default();
        let network = address.network.as_ref().map(|network| format!(", network {network}"));
        let rate = address.mbit.map(|mbit| format!(", {mbit} Mbit/s"));
        let (network, rate) = (network.unwrap_or_default(), rate.unwrap_or_default());
        format!("{} {}{network}{rate}{why}", address.interface, address.ip)
    };
    let (usable, left_out): (Vec<_>, Vec<_>) =
        facts.addresses.iter().partition(|address| address.left_out.is_none());
    page.entry("addresses", usable.into_iter().map(line));
    page.entry("left out", left_out.into_iter().map(line));
    let only = if facts.token.found { "" } else { " (no token: this host only)" };
    if !facts.published.is_empty() {
        page.entry("published", [facts.published.join(", ") + only]);
    }

    if let Some(me) = &facts.identity {
        page.entry("identity", [format!("rank {} of {} ({})", me.rank, me.world_size, me.source)]);
        match &facts.rendezvous {
            Some(at) => page.entry("rendezvous", [format!("{} ({})", at.place, at.source)]),
            None if me.world_size == 1 => page.entry("rendezvous", ["none needed".to_owned()]),
            None => {}
        }
    }
    page.entry("token", [token(&facts.token)]);
    page.entry("problems", facts.problems.iter().cloned());
    page.entry("warnings", facts.warnings.iter().cloned());
    for variable in facts.variables.iter().flatten() {
        page.variable(variable);
    }
    page.0
}

struct Page(String);

impl Page {
    /// Lines under one heading; nothing where there are none.
    fn entry(&mut self, heading: &str, lines: impl IntoIterator<Item = String>) {
        let mut heading = heading;
        for line in lines {
            // Writing to a string does not fail.
            let _ = writeln!(self.0, "{heading:<MARGIN$}{line}");
            heading = "";
        }
    }

    fn variable(&mut self, variable: &Variable) {
        let set = variable.source == "environment";
        let value = match (&variable.value, set, variable.secret) {
            (_, true, true) => " = (not shown)".to_owned(),
            (Some(value), ..) => format!(" = {value}"),
            (None, ..) => String::new(),
        };
        let origin = match (set, variable.default) {
            (true, Some(default)) => format!("set; default {default}"),
            (true, None) => "set; no default".to_owned(),
            (false, Some(_)) => "default".to_owned(),
            (false, None) => "unset".to_owned(),
        };
        let Variable { name, meaning, allowed, .. } = variable;
        let _ =
            write!(self.0, "\n{name}{value} ({origin})\n    {meaning}\n    may be: {allowed}\n");
    }
}

fn cores(cores: &Cores) -> String {
    let usable = cores.usable.map_or("unknown".to_owned(), |usable| format!("{usable} usable"));
    let Some(affinity) = &cores.affinity else { return usable };
    let quota = match (cores.usable, cores.in_affinity) {
        (Some(usable), Some(allowed)) if usable < allowed => ", less by the cgroup's quota",
        _ => ", no smaller cgroup quota",
    };
    format!("{usable} (affinity {affinity}{quota})")
}

fn limit(limit: Option<Limit>, unit: &str) -> String {
    match limit {
        Some(Limit::At(number)) => format!("{number}{unit}"),
        Some(Limit::None) => format!("unlimited{unit}").replace(" bytes", ""),
        None => "unknown".to_owned(),
    }
}

fn token(token: &Token) -> String {
    match (token.found, token.variable, &token.file) {
        (true, Some(variable), Some(file)) => format!("from {file} ({variable})"),
        (true, Some(variable), None) => format!("from {variable}"),
        (false, Some(variable), _) => format!("none: {variable} holds no usable one"),
        _ => "none: ranks meet on this host only; `kirsh token` draws one".to_owned(),
    }
}
