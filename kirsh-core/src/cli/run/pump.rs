//! The thread that carries what the ranks write to the launcher's own output.
//!
//! One thread does it all, so lines cannot mix; the launcher's messages go the same way. It is a
//! thread apart because a terminal or pager that takes nothing must not keep signals and deadlines
//! from being seen. It holds no more than a line per stream: a reader that is slow slows the ranks
//! down, as it would without a launcher.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::lines::Lines;
use super::sys;
use crate::limits::OUTPUT_LINE_BYTES_MAX;

/// Where something is written to: the launcher's own standard output or standard error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Stdout = 0,
    Stderr = 1,
}

/// One end of a rank's output.
pub(super) struct Source {
    pub(super) pipe: OwnedFd,
    pub(super) target: Target,
    /// What goes in front of each line; empty for none.
    pub(super) label: Vec<u8>,
}

enum Order {
    Say(String),
    Finish,
}

/// The launcher's side of the thread.
pub(super) struct Pump {
    orders: Sender<Order>,
    doorbell: PipeWriter,
    done: PipeReader,
}

impl Pump {
    /// Starts the thread. It blocks the signals that the calling thread blocks.
    pub(super) fn start(sources: Vec<Source>) -> io::Result<Pump> {
        let (orders, inbox) = channel();
        let (bell, doorbell) = io::pipe()?;
        let (done, running) = io::pipe()?;
        let carrier = Carrier::new(sources, inbox, bell);
        std::thread::Builder::new().name("kirsh-output".into()).spawn(move || {
            carrier.carry();
            drop(running);
        })?;
        Ok(Pump { orders, doorbell, done })
    }

    /// Shows a line of the launcher's own on standard error, behind what the ranks have written so
    /// far. Does not block.
    pub(super) fn say(&self, message: impl std::fmt::Display) {
        self.order(Order::Say(format!("kirsh run: {message}\n")));
    }

    /// Asks the thread to end, after it has passed on what the ranks have written so far.
    pub(super) fn finish(&self) {
        self.order(Order::Finish);
    }

    /// Readable once the thread has ended.
    pub(super) fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Whether the thread has ended.
    pub(super) fn is_done(&self) -> bool {
        let mut fds = [sys::readable(self.done.as_raw_fd())];
        sys::poll(&mut fds, Some(Duration::ZERO)).is_ok() && fds[0].revents != 0
    }

    fn order(&self, order: Order) {
        // A thread that has ended wants no orders. A few dozen of them fit the pipe.
        if self.orders.send(order).is_ok() {
            let _ = (&self.doorbell).write_all(&[0]);
        }
    }
}

struct Carrier {
    /// `None` once a stream has ended.
    pipes: Vec<Option<File>>,
    targets: Vec<Target>,
    lines: Lines,
    /// `None` where nothing can be written any more.
    sinks: [Option<File>; 2],
    /// The screen behind each sink; the same where both lead to one place.
    screens: [usize; 2],
    inbox: Receiver<Order>,
    bell: PipeReader,
    chunk: Vec<u8>,
    out: Vec<u8>,
}

impl Carrier {
    fn new(sources: Vec<Source>, inbox: Receiver<Order>, bell: PipeReader) -> Self {
        let sinks = [sink(io::stdout().as_fd()), sink(io::stderr().as_fd())];
        let place = |sink: &Option<File>| {
            let metadata = sink.as_ref()?.metadata().ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let same = place(&sinks[0]).is_some_and(|first| Some(first) == place(&sinks[1]));
        let targets = sources.iter().map(|source| source.target).collect();
        let (pipes, labels) =
            sources.into_iter().map(|source| (Some(File::from(source.pipe)), source.label)).unzip();
        Carrier {
            pipes,
            targets,
            lines: Lines::new(labels, 2),
            sinks,
            screens: [0, usize::from(!same)],
            inbox,
            bell,
            chunk: vec![0; OUTPUT_LINE_BYTES_MAX],
            out: Vec::new(),
        }
    }

    fn carry(mut self) {
        loop {
            let mut ready = self.wait(None);
            let mut orders = Vec::new();
            if ready.last() == Some(&true) && self.bell.read(&mut self.chunk).is_ok() {
                orders.extend(self.inbox.try_iter());
                // Orders are taken first and followed last: what a rank wrote before the launcher
                // gave one is in its pipe by now, and a pipe's usual content fits the chunk.
                ready = self.wait(Some(Duration::ZERO));
            }
            self.pass_on(&ready);
            let mut finish = false;
            for order in orders {
                match order {
                    Order::Say(message) => self.say(&message),
                    Order::Finish => finish = true,
                }
            }
            if finish {
                return self.end();
            }
        }
    }

    /// Passes on what is still in the pipes, and the last lines without an end. Bounded, since a
    /// process that has left its rank's group may hold a pipe open and write for ever.
    fn end(mut self) {
        for _ in 0..16 {
            let ready = self.wait(Some(Duration::ZERO));
            if !ready[..self.pipes.len()].contains(&true) {
                break;
            }
            self.pass_on(&ready);
        }
        for stream in 0..self.pipes.len() {
            self.close(stream);
        }
        for target in [Target::Stdout, Target::Stderr] {
            let screen = self.screens[target as usize];
            if self.lines.ends_untidily(screen) {
                self.lines.close(screen, &mut self.out);
                self.write(target);
            }
        }
    }

    /// Which pipes can be read, in order, and then the bell.
    fn wait(&self, timeout: Option<Duration>) -> Vec<bool> {
        // poll passes over negative descriptors.
        let pipes = self.pipes.iter().map(|pipe| pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd));
        let mut fds: Vec<_> = pipes.chain([self.bell.as_raw_fd()]).map(sys::readable).collect();
        if sys::poll(&mut fds, timeout).is_err() {
            // Out of memory in the kernel, for a moment; it takes nothing to try again.
            std::thread::yield_now();
        }
        fds.iter().map(|fd| fd.revents != 0).collect()
    }

    fn pass_on(&mut self, ready: &[bool]) {
        let streams = (0..self.pipes.len()).zip(ready).filter(|(_, ready)| **ready);
        for (stream, _) in streams {
            let Some(pipe) = &mut self.pipes[stream] else { continue };
            match pipe.read(&mut self.chunk) {
                Ok(0) => self.close(stream),
                Ok(count) => {
                    let target = self.targets[stream];
                    let screen = self.screens[target as usize];
                    self.lines.feed(stream, screen, &self.chunk[..count], &mut self.out);
                    self.write(target);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.close(stream),
            }
        }
    }

    fn close(&mut self, stream: usize) {
        if self.pipes[stream].take().is_some() {
            let target = self.targets[stream];
            self.lines.flush(stream, self.screens[target as usize], &mut self.out);
            self.write(target);
        }
    }

    fn say(&mut self, message: &str) {
        let screen = self.screens[Target::Stderr as usize];
        self.lines.interject(screen, message.as_bytes(), &mut self.out);
        self.write(Target::Stderr);
    }

    /// Writes what has been put together. Where that fails, nobody reads any more: the ranks'
    /// pipes to there are closed, so that they learn it as if they wrote there themselves.
    fn write(&mut self, target: Target) {
        let failure = match &mut self.sinks[target as usize] {
            Some(sink) => write_all(sink, &self.out).err(),
            None => None,
        };
        self.out.clear();
        let Some(error) = failure else { return };
        self.sinks[target as usize] = None;
        for (pipe, _) in self.pipes.iter_mut().zip(&self.targets).filter(|(_, to)| **to == target) {
            *pipe = None;
        }
        if target == Target::Stdout && error.kind() != io::ErrorKind::BrokenPipe {
            self.say(&format!("kirsh run: cannot write to standard output: {error}\n"));
        }
    }
}

fn sink(fd: BorrowedFd<'_>) -> Option<File> {
    fd.try_clone_to_owned().ok().map(File::from)
}

/// As `Write::write_all`, but also where somebody who shares the terminal has made it non-blocking.
fn write_all(sink: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut fds =
                    [libc::pollfd { fd: sink.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
                sys::poll(&mut fds, None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
