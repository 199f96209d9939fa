//! What a rank finds in its environment: torchrun's variables, and Kirsh's own.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;

use super::nodes::Place;
use super::store::Store;

/// Variables of an outer launcher that would lead a rank to another world: torchrun's agent
/// announces its own store, and a token file would stand against the token handed over.
const FOREIGN: [&str; 4] = [
    "KIRSH_TOKEN_FILE",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
];

/// The environment that the ranks of this node share, and what differs between them.
pub(super) struct Environment {
    shared: Vec<(&'static str, String)>,
    place: Place,
    threads_limited: bool,
}

impl Environment {
    /// The environment of the ranks that have this place and meet at this store. Their threads are
    /// limited where `limit_threads` says so and the user does not.
    pub(super) fn new(place: Place, store: &Store, limit_threads: bool) -> Self {
        let Place { node, nodes, ranks, world_size, .. } = place;
        let mut shared = vec![
            ("WORLD_SIZE", world_size.to_string()),
            ("LOCAL_WORLD_SIZE", ranks.to_string()),
            ("GROUP_RANK", node.to_string()),
            ("GROUP_WORLD_SIZE", nodes.to_string()),
            ("ROLE_NAME", "default".into()),
            ("ROLE_WORLD_SIZE", world_size.to_string()),
            ("MASTER_ADDR", place.master.0.clone()),
            ("MASTER_PORT", place.master.1.to_string()),
            ("KIRSH_WORLD_SIZE", world_size.to_string()),
            ("KIRSH_LOCAL_SIZE", ranks.to_string()),
            ("KIRSH_JOB_ID", store.job_id().to_owned()),
            ("KIRSH_RENDEZVOUS", store.rendezvous().to_owned()),
            ("KIRSH_RENDEZVOUS_SERVED", "1".into()),
        ];
        shared.extend(store.token_text().map(|token| ("KIRSH_TOKEN", token)));
        // Ranks that each start a thread per core get in each other's way; torchrun does the same.
        let threads_limited =
            limit_threads && ranks > 1 && std::env::var_os("OMP_NUM_THREADS").is_none();
        if threads_limited {
            shared.push(("OMP_NUM_THREADS", "1".into()));
        }
        // The ranks are all here, so nobody from elsewhere has to reach them.
        if store.is_for_one_host() && std::env::var_os("KIRSH_BIND").is_none() {
            shared.push(("KIRSH_BIND", Ipv4Addr::LOCALHOST.to_string()));
        }
        // Into a pipe Python writes only when 8 KiB have come together, and loses them in a crash.
        if std::env::var_os("PYTHONUNBUFFERED").is_none() {
            shared.push(("PYTHONUNBUFFERED", "1".into()));
        }
        Environment { shared, place, threads_limited }
    }

    /// Whether `OMP_NUM_THREADS` was chosen here, which the user should hear of.
    pub(super) fn limits_threads(&self) -> bool {
        self.threads_limited
    }

    /// Gives a command the environment of this rank, on top of what the launcher has.
    pub(super) fn apply(&self, rank: u32, command: &mut Command) {
        let first = self.place.first_rank;
        debug_assert!((first..first + self.place.ranks).contains(&rank));
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.envs(self.shared.iter().map(|(name, value)| (name, OsStr::new(value))));
        for name in ["RANK", "ROLE_RANK", "KIRSH_RANK"] {
            command.env(name, rank.to_string());
        }
        for name in ["LOCAL_RANK", "KIRSH_LOCAL_RANK"] {
            command.env(name, (rank - first).to_string());
        }
    }
}

/// A port that nobody holds, neither for IPv4 nor for IPv6, for a store that the program may serve
/// itself. It is let go of at once: Kirsh never serves there.
pub(super) fn free_port() -> io::Result<u16> {
    // An IPv6 socket takes the IPv4 port too, unless this host keeps them apart or has no IPv6.
    let anywhere = [
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    ];
    Ok(TcpListener::bind(anywhere.as_slice())?.local_addr()?.port())
}
