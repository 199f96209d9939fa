//! Launchers that speak PMI and set nothing else that is known here, such as older Hydras and PALS.

use super::{Launcher, from_variables, nowhere};

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "PMI",
    identity: |env| from_variables(&LAUNCHER, "PMI_RANK", "PMI_SIZE", env),
    rendezvous: |identity, _| {
        Err(nowhere(identity, "PMI's variables hold no address", ", through your launcher"))
    },
    job: |_| None,
};
