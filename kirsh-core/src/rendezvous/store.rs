//! What a meeting place must be able to do, and nothing more.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;

/// A small shared dictionary through which the ranks of a job find together.
///
/// The library brings two, [`TcpStore`](super::TcpStore) and [`FileStore`](super::FileStore).
/// Anything else with these four operations may take their place: a Python object, or C callbacks,
/// behind a type that implements this trait. Such a type keeps four promises:
/// - a value, once `set` has returned, is seen by every later `get` and `wait` of any rank, whole;
/// - `add` is atomic across ranks and counts a missing key from 0;
/// - values and counters share one space of keys, and a counter reads as decimal text;
/// - calls may come from any thread, and one that blocks in `wait` does not keep out the others.
///
/// Keys are UTF-8 of at most [`STORE_KEY_MAX`](crate::limits::STORE_KEY_MAX) bytes, values at most
/// [`STORE_VALUE_MAX`](crate::limits::STORE_VALUE_MAX). The key `refused` is reserved for a server
/// that turned somebody away: its value is text for people.
pub trait Store: Send + Sync {
    /// Writes a value, over an older one if there is one. Blocks until the store has it.
    fn set(&self, key: &str, value: &[u8]) -> Result<()>;

    /// The value of a key, or `None` where nobody has set it yet. Does not wait for one.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Waits until the key has a value and returns it, or `None` once the deadline has passed.
    /// A deadline in the past only looks.
    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>>;

    /// Adds to a counter and returns the sum. Blocks until the store has done it, exactly once.
    fn add(&self, key: &str, delta: i64) -> Result<i64>;

    /// What people should read in errors: the kind of store and where it is.
    fn describe(&self) -> String {
        "the store that was handed in".to_owned()
    }
}

impl<S: Store + ?Sized> Store for &S {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        (**self).set(key, value)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        (**self).get(key)
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        (**self).wait(key, deadline)
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        (**self).add(key, delta)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        (**self).set(key, value)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        (**self).get(key)
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        (**self).wait(key, deadline)
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        (**self).add(key, delta)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// A store seen through a prefix: every key goes in behind it, so that two users of one store do
/// not meet.
pub struct Prefix<S> {
    store: S,
    prefix: String,
}

impl<S: Store> Prefix<S> {
    /// The view of `store` in which the key `k` stands for `prefix` + `k`.
    pub fn new(store: S, prefix: impl Into<String>) -> Self {
        Prefix { store, prefix: prefix.into() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl<S: Store> Store for Prefix<S> {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.store.set(&self.key(key), value)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.store.get(&self.key(key))
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        self.store.wait(&self.key(key), deadline)
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        self.store.add(&self.key(key), delta)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
