//! Links that end while the kernel still watches them.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::super::*;
use super::progress_on;
use crate::driver::choose::DriverKind;

/// One look at what the kernel has done. Gives the results of waiting for control links to be writable.
pub(super) fn look(progress: &mut Progress) -> Vec<i32> {
    let mut events = Vec::new();
    let wait = Wait { until_ns: 0, spin_ns: 0 };
    let _ = progress.own.wait(wait, |_, happening| {
        if let Happening::Done(completion) = happening {
            events.push(completion);
        }
    });
    let writable = |event: &Completion| (event.token >> 32) as u32 == token::CONTROL_WRITABLE;
    let results = events.iter().filter(|event| writable(event)).map(|event| event.result).collect();
    events.into_iter().for_each(|event| progress.handle(event));
    results
}

#[test]
fn a_control_link_that_ends_while_much_waits_to_be_sent_leaves_nothing_behind() {
    for driver in [DriverKind::Poll, DriverKind::Uring] {
        let (mut progress, _lane) = progress_on(driver);
        // Over TCP, where the end of one direction makes nothing writable.
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(there.local_addr().unwrap()).unwrap();
        let (mut far, _) = there.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        progress.control_up(0, Fd::new(OwnedFd::from(near)).unwrap(), false);
        while !progress.controls[&0].awaits_writable {
            progress.tell_directly(0, &Message::Heartbeat);
        }
        // The bell has rung for the lane, and is watched again from the next look on.
        for _ in 0..3 {
            look(&mut progress);
        }
        let bell = 1;
        assert_eq!(progress.own.io.in_flight(), bell + 2, "{driver}");
        // The peer says no more, and has not read.
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let mut ended_by = Vec::new();
        while !progress.controls.is_empty() || progress.own.io.in_flight() > bell {
            assert!(Instant::now() < until, "{driver}: {:?}", progress.own.io);
            ended_by.extend(look(&mut progress));
        }
        // The kernel may have found room once more before; every wait ended, and none twice.
        let last = ended_by.pop().expect("the wait for room has an end");
        assert!(ended_by.iter().all(|result| *result > 0), "{driver}: {ended_by:?}");
        if driver == DriverKind::Poll {
            // Not found out from a descriptor that is closed, and may be somebody else's by then.
            assert_eq!(last, -libc::ECANCELED);
        }
        // The connection is closed, and not just forgotten.
        far.read_to_end(&mut Vec::new()).unwrap();
    }
}
