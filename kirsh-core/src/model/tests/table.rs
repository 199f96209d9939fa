//! Tables of costs: as text, as bytes, and what is none.

use super::*;
use crate::error::ErrorKind;
use crate::model::Class;

#[test]
fn a_table_reads_back_as_it_was_written() {
    for class in Class::ALL {
        let mut costs = Costs::built_in(class, 3);
        costs.remote.wire_fs += 1;
        costs.local.latency_ps += 999_999;
        let text = costs.to_text("measured by a test\n\non one host");
        assert!(
            text.starts_with("# measured by a test\n#\n# on one host\nkirsh-costs 1\n"),
            "{text}"
        );
        assert_eq!(Costs::from_text(&text).expect("what was written"), costs);
        assert_eq!(Costs::from_bytes(&costs.to_bytes()), Some(costs));
    }
}

#[test]
fn what_is_no_table_is_refused_with_the_line() {
    let good = ROUND.to_text("");
    let line = |text: &str| good.replace("local.latency_us = 2", text);
    for (text, word) in [
        (String::new(), "kirsh-costs 1"),
        ("kirsh-costs 2\n".to_owned(), "kirsh-costs 2"),
        ("kirsh-costs 1\n".to_owned(), "cores is missing"),
        (line("local.latency_us 2"), "name = number"),
        (line("local.latency_us = -2"), "\"-2\""),
        (line("local.latency_us = 2e3"), "\"2e3\""),
        (line("local.latency_us = 0.0000001"), "six digits"),
        (line("local.latency_us = 99999999999"), "larger than"),
        (line("local.delay_us = 2"), "local.latency_us"),
        (format!("{good}cores = 2\n"), "second time"),
        (good.replace("cores = 64", "cores = 0"), "no cores"),
        (good.replace("stripes = 1", "stripes = 9"), "no sockets"),
        ("#".repeat(1 << 20), "bytes"),
    ] {
        let error = Costs::from_text(&text).expect_err(word);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_table_that_says_nothing_of_sockets_has_as_many_as_its_links_usually_have() {
    for class in Class::ALL {
        let costs = Costs::built_in(class, 3);
        let text = costs.to_text("");
        let older: String = text.lines().filter(|line| !line.contains("stripes")).fold(
            String::new(),
            |mut text, line| {
                text.push_str(line);
                text.push('\n');
                text
            },
        );
        assert_ne!(older.len(), text.len());
        assert_eq!(Costs::from_text(&older).unwrap(), costs, "{class:?}");
        let set = Costs { stripes: 8, ..costs };
        assert_eq!(Costs::from_text(&set.to_text("")).unwrap(), set);
    }
}

#[test]
fn no_bytes_make_a_table_beyond_its_bounds() {
    let bytes = ROUND.to_bytes();
    for number in 0..bytes.len() / 8 {
        let mut bytes = bytes;
        bytes[8 * number..][..8].fill(0xff);
        assert_eq!(Costs::from_bytes(&bytes), None, "{number}");
    }
}

#[test]
fn rates_belong_to_the_nearest_class() {
    for (mbit, class) in [
        (-1, Class::Gbit1),
        (100, Class::Gbit1),
        (1_000, Class::Gbit1),
        (10_000, Class::Gbit10),
        (25_000, Class::Gbit25),
        (40_000, Class::Gbit25),
        (100_000, Class::Gbit100),
        (400_000, Class::Gbit100),
    ] {
        assert_eq!(Class::of_mbit(mbit), class, "{mbit}");
    }
}
