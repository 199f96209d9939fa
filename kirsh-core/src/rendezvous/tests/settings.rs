//! Defaults are of the kind that is allowed, and what is not allowed is refused by name.

use std::collections::HashSet;
use std::time::Duration;

use super::env;
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::Env;
use crate::rendezvous::settings::{self, DriverChoice, Switch};
use crate::types::{Algorithm, Collective, Wire};

#[test]
fn every_setting_has_its_own_name_and_a_default_that_is_allowed() {
    let names: HashSet<&str> = settings::all().iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), settings::all().len());
    for setting in settings::all() {
        assert!(setting.name.starts_with("KIRSH_"));
        assert!(setting.default.is_empty() || setting.allows(setting.default), "{}", setting.name);
        assert!(!setting.meaning.is_empty() && !setting.allowed.is_empty());
    }
}

#[test]
fn unset_and_empty_variables_give_the_defaults() {
    let empty = |_: &str| Some(String::new());
    for env in [&env(&[]) as Env<'_>, &empty] {
        assert_eq!(settings::job_id(env).unwrap(), "kirsh");
        assert!(!settings::rendezvous_served(env).unwrap());
        assert_eq!(settings::bind(env).unwrap(), None);
        assert!(settings::advertise(env).unwrap().is_empty());
        assert_eq!(settings::ports(env).unwrap(), None);
        assert_eq!(settings::driver(env).unwrap(), DriverChoice::Auto);
        assert_eq!(settings::timeout(env).unwrap(), Some(Duration::from_secs(600)));
        assert_eq!(settings::join_timeout(env).unwrap(), Some(Duration::from_secs(300)));
        assert_eq!(settings::warn_after(env).unwrap(), Some(Duration::from_secs(30)));
        assert_eq!(settings::liveness_timeout(env).unwrap(), Some(Duration::from_secs(30)));
        assert_eq!(settings::checksum(env).unwrap(), Switch::Auto);
        assert_eq!(settings::spin(env).unwrap(), None);
        assert_eq!(settings::slice(env).unwrap(), None);
        assert_eq!(settings::wire(env).unwrap(), Wire::Plain);
        assert!(settings::algorithms(env).unwrap().is_empty());
        assert_eq!(settings::log_level(env).unwrap(), tracing::Level::WARN);
        assert!(settings::interfaces(env).is_ok());
    }
}

#[test]
fn what_is_set_is_read() {
    let set = env(&[
        ("KIRSH_JOB_ID", "train-7"),
        ("KIRSH_RENDEZVOUS_SERVED", "1"),
        ("KIRSH_BIND", "fd00::2"),
        ("KIRSH_ADVERTISE", "203.0.113.5, [fd00::9]:80"),
        ("KIRSH_PORTS", "4000-4010"),
        ("KIRSH_DRIVER", "poll"),
        ("KIRSH_TIMEOUT", "inf"),
        ("KIRSH_JOIN_TIMEOUT", "1.5"),
        ("KIRSH_CHECKSUM", "on"),
        ("KIRSH_SPIN_US", "0"),
        ("KIRSH_SLICE", "256K"),
        ("KIRSH_WIRE", "int8"),
        ("KIRSH_ALGORITHM", "allreduce:ring, broadcast:chain"),
        ("KIRSH_LOG", "trace"),
    ]);
    assert_eq!(settings::job_id(&set).unwrap(), "train-7");
    assert!(settings::rendezvous_served(&set).unwrap());
    assert_eq!(settings::bind(&set).unwrap(), Some("fd00::2".parse().unwrap()));
    let seen = settings::advertise(&set).unwrap();
    assert_eq!((seen[0].port, seen[1].port), (None, Some(80)));
    assert_eq!(settings::ports(&set).unwrap(), Some(4000..=4010));
    assert_eq!(settings::driver(&set).unwrap(), DriverChoice::Poll);
    assert_eq!(settings::timeout(&set).unwrap(), None);
    assert_eq!(settings::join_timeout(&set).unwrap(), Some(Duration::from_millis(1500)));
    assert_eq!(settings::checksum(&set).unwrap(), Switch::On);
    assert_eq!(settings::spin(&set).unwrap(), Some(Duration::ZERO));
    assert_eq!(settings::slice(&set).unwrap(), Some(256 << 10));
    assert_eq!(settings::wire(&set).unwrap(), Wire::Int8);
    assert_eq!(
        settings::algorithms(&set).unwrap(),
        [(Collective::Allreduce, Algorithm::Ring), (Collective::Broadcast, Algorithm::Chain)]
    );
    assert_eq!(settings::log_level(&set).unwrap(), tracing::Level::TRACE);
}

#[test]
fn a_check_says_what_reading_would() {
    for setting in settings::all() {
        assert!(setting.check(&env(&[])).is_ok(), "{} unset", setting.name);
    }
    let set = env(&[("KIRSH_DRIVER", "epoll"), ("KIRSH_TOKEN", "short")]);
    let read = settings::driver(&set).unwrap_err();
    assert_eq!(settings::DRIVER.check(&set).unwrap_err().message(), read.message());
    let secret = settings::TOKEN.check(&set).unwrap_err();
    assert!(!secret.message().contains("short"), "{secret}");
}

/// What a getter says of a text.
fn refusal<T>(name: &str, text: &str, get: impl Fn(Env<'_>) -> Result<T>) -> Option<Error> {
    get(&env(&[(name, text)])).err()
}

#[test]
fn what_is_not_allowed_is_refused_with_variable_value_and_what_is() {
    let seconds = ["0", "-1", "soon", "nan", "infinity", "1e3", "2000000000", "1 "];
    for text in seconds {
        let error = refusal("KIRSH_TIMEOUT", text, settings::timeout).expect(text);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for part in ["KIRSH_TIMEOUT", text, "seconds, fractions allowed, or inf"] {
            assert!(error.message().contains(part), "{part:?} is missing in: {error}");
        }
    }
    let refused = |name, texts: &[&str], get: &dyn Fn(&str, &str) -> bool| {
        texts.iter().for_each(|text| assert!(get(name, text), "{name}={text}"));
    };
    let ports = ["0", "5-4", "70000", "1-", "a-b", "+5", "0-5"];
    refused("KIRSH_PORTS", &ports, &|n, t| refusal(n, t, settings::ports).is_some());
    let slices = ["0", "2M", "4095", "1G", "K", "99999999999M"];
    refused("KIRSH_SLICE", &slices, &|n, t| refusal(n, t, settings::slice).is_some());
    let algorithms = ["ring", "allreduce", "allreduce:", "x:ring", "allreduce:ring,allreduce:tree"];
    refused("KIRSH_ALGORITHM", &algorithms, &|n, t| refusal(n, t, settings::algorithms).is_some());
    let drivers = ["epoll", "URING"];
    refused("KIRSH_DRIVER", &drivers, &|n, t| refusal(n, t, settings::driver).is_some());
    let hosts = ["host", "0.0.0.0", "1.2.3.4:0", "1.2.3.4,"];
    refused("KIRSH_ADVERTISE", &hosts, &|n, t| refusal(n, t, settings::advertise).is_some());
    let filters = ["10.0.0.0/33", "a/b", "!", "eth0,,eth1", "a-name-too-long-for-linux"];
    refused("KIRSH_IFACE", &filters, &|n, t| refusal(n, t, settings::interfaces).is_some());
    let jobs = ["a\nb", &"x".repeat(129)];
    refused("KIRSH_JOB_ID", &jobs, &|n, t| refusal(n, t, settings::job_id).is_some());
    let switches = ["yes", "true", "2"];
    let served = |n: &str, t: &str| refusal(n, t, settings::rendezvous_served).is_some();
    refused("KIRSH_RENDEZVOUS_SERVED", &switches, &served);
}
