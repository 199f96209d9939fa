//! What a pool promises: slabs apart from each other, its bound, no allocation, no loss.

use std::collections::BTreeSet;
use std::sync::mpsc;

use super::*;

const SLAB: usize = 1000;

fn lease(pool: &Pool) -> Lease {
    pool.lease().unwrap().expect("a slab at home")
}

fn fill(lease: &Lease, byte: u8) {
    // SAFETY: the whole slab, which the lease lends to this test alone.
    unsafe { lease.as_ptr().write_bytes(byte, lease.len()) };
}

fn holds(lease: &Lease, byte: u8) -> bool {
    // SAFETY: the whole slab, initialised, and nobody writes meanwhile.
    let slab = unsafe { std::slice::from_raw_parts(lease.as_ptr(), lease.len()) };
    slab.iter().all(|&found| found == byte)
}

#[test]
fn a_new_pool_maps_nothing_and_grows_by_need() {
    let pool = Pool::new(SLAB, 7);
    assert_eq!(pool.stats().bytes_mapped, 0);
    let mut leases = Vec::new();
    let mut made = Vec::new();
    while let Some(lease) = pool.lease().unwrap() {
        assert!(holds(&lease, 0));
        leases.push(lease);
        made.push(pool.stats().slabs_made);
    }
    assert_eq!(made, [1, 2, 4, 4, 7, 7, 7]);
    assert!(pool.stats().bytes_mapped >= 7 * SLAB);
}

#[test]
fn slabs_on_loan_have_no_byte_in_common() {
    let pool = Pool::new(SLAB, 20);
    let leases: Vec<Lease> = (0..20).map(|_| lease(&pool)).collect();
    for (index, lease) in leases.iter().enumerate() {
        assert_eq!(lease.len(), SLAB);
        assert_eq!(lease.as_ptr().addr() % SLAB_ALIGNMENT, 0);
        fill(lease, index as u8);
    }
    assert!(leases.iter().enumerate().all(|(index, lease)| holds(lease, index as u8)));
}

#[test]
fn an_exhausted_pool_says_none_until_a_slab_comes_home() {
    let pool = Pool::new(SLAB, 2);
    let first = lease(&pool);
    let _second = lease(&pool);
    assert!(pool.lease().unwrap().is_none());
    assert_eq!(pool.stats().slabs_leased, 2);
    let start = first.as_ptr();
    drop(first);
    assert_eq!(pool.stats().slabs_leased, 1);
    assert_eq!(lease(&pool).as_ptr(), start);
    assert!(Pool::new(SLAB, 0).lease().unwrap().is_none());
}

#[test]
fn the_slab_returned_last_is_lent_first() {
    let pool = Pool::new(SLAB, 3);
    let leases = [lease(&pool), lease(&pool), lease(&pool)];
    let last = leases[2].as_ptr();
    drop(leases);
    assert_eq!(lease(&pool).as_ptr(), last);
}

#[test]
fn bytes_show_the_slab_in_place_and_give_it_back_with_the_last_clone() {
    let pool = Pool::new(SLAB, 1);
    let lease = lease(&pool);
    let start = lease.as_ptr().cast_const();
    fill(&lease, 7);
    let bytes = lease.into_bytes(10);
    assert_eq!((bytes.as_ptr(), &bytes[..]), (start, &[7u8; 10][..]));
    let part = bytes.slice(3..5);
    drop(bytes);
    assert_eq!(pool.stats().slabs_leased, 1);
    drop(part);
    assert_eq!(pool.stats().slabs_leased, 0);
}

#[test]
#[should_panic(expected = "1001 bytes of a slab of 1000")]
fn bytes_beyond_the_slab_are_refused() {
    let _ = lease(&Pool::new(SLAB, 1)).into_bytes(SLAB + 1);
}

#[test]
fn a_lease_outlives_every_handle_of_its_pool() {
    let pool = Pool::new(SLAB, 4);
    let lease = lease(&pool);
    drop(pool);
    fill(&lease, 9);
    assert!(holds(&lease, 9));
    assert_eq!(lease.into_bytes(SLAB).len(), SLAB);
}

#[test]
fn a_pool_that_cannot_grow_says_so_and_stays_usable() {
    let pool = Pool::new(usize::MAX, 2);
    assert_eq!(pool.lease().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let pool = Pool::new(1 << 62, 2);
    for _ in 0..2 {
        assert_eq!(pool.lease().unwrap_err().kind(), ErrorKind::System);
    }
    assert_eq!((pool.stats().slabs_made, pool.stats().slabs_leased), (0, 0));
}

#[test]
fn returning_never_makes_the_free_list_grow() {
    let pool = Pool::new(SLAB, 33);
    let leases: Vec<Lease> = (0..33).map(|_| lease(&pool)).collect();
    let capacity = pool.0.state().home.capacity();
    assert!(capacity >= 33);
    drop(leases);
    assert_eq!(pool.0.state().home.capacity(), capacity);
}

#[test]
fn threads_never_hold_one_slab_together_and_lose_none() {
    const THREADS: usize = 4;
    const SLABS: usize = 6;
    let rounds = if cfg!(miri) { 20 } else { 3000 };
    let pool = Pool::new(SLAB, SLABS);
    let (sender, receiver) = mpsc::channel::<(u8, Lease)>();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, sender) = (pool.clone(), sender.clone());
            scope.spawn(move || {
                for round in 0..rounds {
                    // None where the others have them all; the test then has nothing to check.
                    let Some(lease) = pool.lease().unwrap() else { continue };
                    let mark = (thread * 64 + round % 64) as u8;
                    fill(&lease, mark);
                    assert!(holds(&lease, mark), "somebody else wrote into a slab on loan");
                    if round % 3 == 0 {
                        sender.send((mark, lease)).unwrap();
                    }
                }
            });
        }
        drop(sender);
        // Some come home from another thread than the one they were lent to.
        for (mark, lease) in receiver {
            assert!(holds(&lease, mark), "somebody else wrote into a slab on its way");
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.slabs_leased, stats.slabs_made <= SLABS), (0, true));
    let leases: Vec<Lease> = std::iter::from_fn(|| pool.lease().unwrap()).collect();
    let starts: BTreeSet<usize> = leases.iter().map(|lease| lease.as_ptr().addr()).collect();
    assert_eq!((leases.len(), starts.len()), (SLABS, SLABS));
}
