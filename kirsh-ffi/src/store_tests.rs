//! What becomes of the answers that C callbacks give.

use super::*;
use crate::error::last_error;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Shelf {
    values: Mutex<HashMap<String, Vec<u8>>>,
    released: AtomicUsize,
    /// What the next callback returns instead of doing its work.
    answer: Mutex<Option<StatusNumber>>,
    waited_ns: Mutex<Vec<i64>>,
}

const OK: StatusNumber = kirsh_status_t::KIRSH_OK as StatusNumber;
const PENDING: StatusNumber = kirsh_status_t::KIRSH_PENDING as StatusNumber;

unsafe fn shelf<'a>(user: *mut c_void) -> &'a Shelf {
    // SAFETY: every test passes a `Shelf` that outlives its store.
    unsafe { &*user.cast() }
}

unsafe fn key_of(key: *const c_char) -> String {
    // SAFETY: the store passes terminated text.
    unsafe { text::lossy(key) }.into_owned()
}

unsafe extern "C" fn set(
    user: *mut c_void,
    key: *const c_char,
    value: *const c_void,
    length: usize,
    _reply: *mut kirsh_reply_t,
) -> StatusNumber {
    // SAFETY: the store passes its user, terminated text and `length` bytes.
    let (shelf, key, value) = unsafe {
        (shelf(user), key_of(key), std::slice::from_raw_parts(value.cast::<u8>(), length))
    };
    shelf.values.lock().unwrap().insert(key, value.to_vec());
    OK
}

unsafe extern "C" fn get(
    user: *mut c_void,
    key: *const c_char,
    reply: *mut kirsh_reply_t,
) -> StatusNumber {
    // SAFETY: the store passes its user and terminated text.
    let (shelf, key) = unsafe { (shelf(user), key_of(key)) };
    if let Some(answer) = shelf.answer.lock().unwrap().take() {
        if answer > PENDING {
            // SAFETY: the reply of this callback, and terminated text.
            unsafe { kirsh_reply_set_message(reply, c"the shelf is bare".as_ptr()) };
        }
        return answer;
    }
    match shelf.values.lock().unwrap().get(&key) {
        None => PENDING,
        Some(value) => {
            // SAFETY: the reply of this callback, and the bytes of a live vector.
            let status =
                unsafe { kirsh_reply_set_value(reply, value.as_ptr().cast(), value.len()) };
            status as StatusNumber
        }
    }
}

unsafe extern "C" fn wait(
    user: *mut c_void,
    key: *const c_char,
    timeout_ns: i64,
    reply: *mut kirsh_reply_t,
) -> StatusNumber {
    // SAFETY: the store passes its user.
    unsafe { shelf(user) }.waited_ns.lock().unwrap().push(timeout_ns);
    // SAFETY: what the store passed to us.
    unsafe { get(user, key, reply) }
}

unsafe extern "C" fn add(
    user: *mut c_void,
    key: *const c_char,
    delta: i64,
    sum: *mut i64,
    _reply: *mut kirsh_reply_t,
) -> StatusNumber {
    // SAFETY: the store passes its user and terminated text.
    let (shelf, key) = unsafe { (shelf(user), key_of(key)) };
    let mut values = shelf.values.lock().unwrap();
    let value = values.entry(key).or_insert_with(|| b"0".to_vec());
    let total = std::str::from_utf8(value).unwrap().parse::<i64>().unwrap() + delta;
    *value = total.to_string().into_bytes();
    // SAFETY: the store passes a place for the sum.
    unsafe { *sum = total };
    OK
}

unsafe extern "C" fn release(user: *mut c_void) {
    // SAFETY: the store passes its user.
    unsafe { shelf(user) }.released.fetch_add(1, Ordering::Relaxed);
}

fn callbacks(shelf: &Shelf) -> kirsh_store_t {
    kirsh_store_t {
        user: std::ptr::from_ref(shelf).cast_mut().cast(),
        set: Some(set),
        get: Some(get),
        wait: Some(wait),
        add: Some(add),
        release: Some(release),
        ..kirsh_store_t::INIT
    }
}

fn adopt(callbacks: &kirsh_store_t) -> Result<CallbackStore> {
    // SAFETY: a whole struct of true callbacks whose user outlives the store.
    unsafe { CallbackStore::adopt(callbacks) }
}

#[test]
fn values_and_counters_pass_through_the_callbacks_whole() {
    let shelf = Shelf::default();
    let store = adopt(&callbacks(&shelf)).unwrap();
    assert_eq!(store.get("a").unwrap(), None);
    store.set("a", b"\0bytes\xff").unwrap();
    store.set("empty", b"").unwrap();
    assert_eq!(store.get("a").unwrap().unwrap(), b"\0bytes\xff");
    assert_eq!(store.get("empty").unwrap().unwrap(), b"");
    assert_eq!((store.add("n", 3).unwrap(), store.add("n", -1).unwrap()), (3, 2));
    assert_eq!(store.get("n").unwrap().unwrap(), b"2");
}

#[test]
fn waiting_hands_over_what_is_left_of_the_deadline_and_a_past_one_only_looks() {
    let shelf = Shelf::default();
    let store = adopt(&callbacks(&shelf)).unwrap();
    let now = Instant::now();
    assert_eq!(store.wait("a", now).unwrap(), None);
    assert_eq!(store.wait("a", now + Duration::from_secs(3600)).unwrap(), None);
    let waited_ns = shelf.waited_ns.lock().unwrap();
    assert_eq!(waited_ns[0], 0);
    assert!(waited_ns[1] > 0 && waited_ns[1] <= 3600 * 1_000_000_000);
}

#[test]
fn a_failing_callback_is_reported_with_its_name_key_and_reason() {
    let shelf = Shelf::default();
    let store = adopt(&callbacks(&shelf)).unwrap();
    *shelf.answer.lock().unwrap() = Some(kirsh_status_t::KIRSH_SYSTEM as StatusNumber);
    let error = store.get("rank/0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rendezvous);
    for part in ["\"get\"", "\"rank/0\"", "the shelf is bare"] {
        assert!(error.message().contains(part), "{error}");
    }
    *shelf.answer.lock().unwrap() = Some(OK);
    let error = store.get("rank/0").unwrap_err();
    assert!(error.message().contains("KIRSH_OK without a value"), "{error}");
    *shelf.answer.lock().unwrap() = Some(-77);
    let error = store.wait("rank/0", Instant::now()).unwrap_err();
    assert!(error.message().contains("it returned -77"), "{error}");
}

#[test]
fn the_user_pointer_is_released_once_also_when_a_callback_is_missing() {
    let shelf = Shelf::default();
    drop(adopt(&callbacks(&shelf)).unwrap());
    assert_eq!(shelf.released.load(Ordering::Relaxed), 1);
    let incomplete = kirsh_store_t { wait: None, ..callbacks(&shelf) };
    let error = adopt(&incomplete).err().unwrap();
    assert_eq!(error.message(), "config->store->wait is NULL");
    assert_eq!(shelf.released.load(Ordering::Relaxed), 2);
}

#[test]
fn a_reply_refuses_nulls_and_lengths_beyond_a_value() {
    let mut reply = kirsh_reply_t { value: None, message: None };
    let reply = &raw mut reply;
    let null = std::ptr::null();
    // SAFETY: nulls and an over-long length are refused before anything is read.
    unsafe {
        assert_eq!(kirsh_reply_set_value(std::ptr::null_mut(), null, 0) as i32, 2);
        assert_eq!(last_error(), "reply is NULL");
        assert_eq!(kirsh_reply_set_value(reply, null, 1) as i32, 2);
        assert_eq!(last_error(), "value is NULL");
        assert_eq!(kirsh_reply_set_value(reply, c"x".as_ptr().cast(), usize::MAX) as i32, 2);
        assert!(last_error().starts_with("length is"));
        assert_eq!(kirsh_reply_set_message(reply, std::ptr::null()) as i32, 2);
        assert_eq!(last_error(), "message is NULL");
        assert_eq!(kirsh_reply_set_value(reply, null, 0) as i32, 0);
    }
}
