//! Ranks as threads, meeting over loopback and in temporary directories.

mod address;
mod codec;
mod filter;
mod identity;
mod joining;
mod launchers;
mod opening;
mod settings;
mod store;
mod tcp;
mod token;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::random_u64;
use super::tcp_store::Greeting;
use super::{FileStore, Joiner, Store, Table, TcpServer, TcpStore, join};
use crate::error::Result;
use crate::wire::auth::Token;

/// Long enough for a loaded machine; nothing that works comes near it.
const PLENTY: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + PLENTY
}

fn token(text: &str) -> Token {
    super::token::parse(text).unwrap()
}

/// An environment made of pairs.
fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let map: HashMap<String, String> =
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    move |name| map.get(name).cloned()
}

/// A path of its own, for a directory or a file, gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("kirsh-test-{}-{:016x}", std::process::id(), random_u64().unwrap());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0).or_else(|_| std::fs::remove_file(&self.0));
    }
}

/// Where the ranks of a test meet.
enum Place {
    Tcp(TcpServer),
    File(Scratch),
}

impl Place {
    fn tcp(token: Option<&Token>) -> Place {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Place::Tcp(TcpServer::bind(any, "job", token.cloned()).unwrap())
    }

    fn file() -> Place {
        Place::File(Scratch::new())
    }

    fn both(token: Option<&Token>) -> [Place; 2] {
        [Place::tcp(token), Place::file()]
    }

    fn store(&self, me: &Joiner) -> Result<Arc<dyn Store>> {
        match self {
            Place::Tcp(server) => {
                let greeting =
                    Greeting { job: &me.job_id, rank: Some(me.rank), token: me.token.as_ref() };
                let at = server.addr();
                Ok(Arc::new(TcpStore::connect("127.0.0.1", at.port(), &greeting, soon())?))
            }
            Place::File(directory) => Ok(Arc::new(FileStore::open(&directory.0)?)),
        }
    }
}

fn joiner(rank: u32, world_size: u32) -> Joiner {
    Joiner {
        rank,
        world_size,
        job_id: "job".to_owned(),
        protocol: 1,
        generation: 0,
        process_id: 1000 + u64::from(rank),
        host_id: 7,
        cores: 2,
        pid: 100 + rank,
        host_name: "here".to_owned(),
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 2000 + rank as u16))],
        places: Vec::new(),
        table_hash: 5,
        handout: format!("from {rank}").into_bytes(),
        warn_after: None,
        token: None,
    }
}

fn joiners(world_size: u32) -> Vec<Joiner> {
    (0..world_size).map(|rank| joiner(rank, world_size)).collect()
}

/// Lets all of them join at once, each through a store of its own, and says what each got.
fn meet(place: &Place, joiners: &[Joiner], within: Duration) -> Vec<Result<Table>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = joiners
            .iter()
            .map(|me| scope.spawn(move || join(&*place.store(me)?, me, Instant::now() + within)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
