//! What a store server holds: values under keys, within bounds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::limits;

/// The values, and which keys changed since the last look.
#[derive(Default)]
pub(super) struct Shelf {
    values: HashMap<String, Arc<[u8]>>,
    bytes: usize,
    changed: HashSet<String>,
}

impl Shelf {
    pub(super) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.values.get(key).cloned()
    }

    /// Puts a value under a key, or says why there is no room.
    pub(super) fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let before = self.values.get(key).map(|old| key.len() + old.len());
        let bytes = self.bytes - before.unwrap_or(0) + key.len() + value.len();
        if bytes > limits::STORE_BYTES_MAX {
            return Err(format!("the store is full: it holds {} bytes", self.bytes));
        }
        if before.is_none() && self.values.len() >= limits::STORE_KEYS_MAX {
            return Err(format!("the store is full: it holds {} keys", self.values.len()));
        }
        self.bytes = bytes;
        self.values.insert(key.to_owned(), value.into());
        self.changed.insert(key.to_owned());
        Ok(())
    }

    /// Adds to a counter, or says why it is none.
    pub(super) fn add(&mut self, key: &str, delta: i64) -> Result<i64, String> {
        let sum = sum(self.values.get(key).map(|value| &**value), delta)
            .map_err(|why| format!("the value under {key:?} {why}"))?;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    /// Whether a key got a value since the last [`Shelf::forget_changes`].
    pub(super) fn has_changed(&self, key: &str) -> bool {
        self.changed.contains(key)
    }

    pub(super) fn forget_changes(&mut self) {
        self.changed.clear();
    }
}

/// A counter's next value; a counter that is not there is 0.
pub(super) fn sum(counter: Option<&[u8]>, delta: i64) -> Result<i64, &'static str> {
    let now: i64 = match counter {
        None => 0,
        Some(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or("is no counter, so nothing can be added to it")?,
    };
    now.checked_add(delta).ok_or("would overflow")
}
