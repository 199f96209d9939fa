//! Events as text: JSON, one event on each line, which `kirsh trace merge` relies on.

use std::fmt::{self, Write};

use super::{Event, Phase, What};
use crate::driver::lane::Key;
use crate::error::{Error, Result};
use crate::session::direct::{Request, Source, Tag};
use crate::types::Rank;

/// What ends the list.
pub(super) const END: &str = "\n]\n";

/// A communicator, as the program and its messages name it.
pub(super) struct Name(pub(super) Key);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name((communicator, epoch)) = self;
        write!(f, "{communicator:016x}.{epoch}")
    }
}

/// Text between quotes.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Nanoseconds, in microseconds.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Nothing that is written to a string fails.
macro_rules! put {
    ($text:expr, $($what:tt)*) => { let _ = write!($text, $($what)*); };
}

/// The beginning of a file: whose it is, and how its clock stands to that of other hosts.
pub(super) fn begin(text: &mut String, rank: Rank, world: u32, realtime_offset_ns: u64) {
    put!(text, "[\n{{\"ph\":\"M\",\"pid\":{rank},\"tid\":0,\"name\":\"process_name\",");
    put!(text, "\"args\":{{\"name\":\"rank {rank}\"}}}}");
    put!(text, ",\n{{\"ph\":\"M\",\"pid\":{rank},\"tid\":0,\"name\":\"process_sort_index\",");
    put!(text, "\"args\":{{\"sort_index\":{rank}}}}}");
    put!(text, ",\n{{\"ph\":\"M\",\"pid\":{rank},\"tid\":0,\"name\":\"kirsh\",\"args\":{{");
    put!(text, "\"rank\":{rank},\"world\":{world},\"process\":{},", std::process::id());
    put!(text, "\"realtime_offset_ns\":{realtime_offset_ns}}}}}");
}

/// The name of a track.
pub(super) fn track(text: &mut String, rank: Rank, track: u32, name: &str) {
    put!(text, ",\n{{\"ph\":\"M\",\"pid\":{rank},\"tid\":{track},\"name\":\"thread_name\",");
    put!(text, "\"args\":{{\"name\":{}}}}}", Quoted(name));
}

pub(super) fn lost(text: &mut String, rank: Rank, now_ns: u64, lost: u64, in_all: u64) {
    put!(text, ",\n{{\"ph\":\"i\",\"s\":\"p\",\"pid\":{rank},\"tid\":0,\"ts\":{},", Micros(now_ns));
    put!(text, "\"cat\":\"trace\",\"name\":\"{lost} events lost\",");
    put!(text, "\"args\":{{\"lost\":{lost},\"lost_in_all\":{in_all}}}}}");
}

pub(super) fn event(text: &mut String, rank: Rank, track: u32, event: &Event) {
    let Event { communicator, stretch, what } = event;
    put!(
        text,
        ",\n{{\"ph\":\"X\",\"pid\":{rank},\"tid\":{track},\"ts\":{}",
        Micros(stretch.from_ns)
    );
    put!(text, ",\"dur\":{},", Micros(stretch.ns()));
    match what {
        What::Collective { call, label, sequence, queued_ns, outcome } => {
            let name = label.as_deref().unwrap_or(call.name());
            let described = call.to_string();
            put!(text, "\"cat\":\"collective\",\"name\":{},\"args\":{{", Quoted(name));
            put!(text, "\"call\":{},", Quoted(&described));
            if let Some(sequence) = sequence {
                put!(text, "\"sequence\":{sequence},");
            }
            put!(text, "\"algorithm\":\"{}\",\"bytes\":{},", call.algorithm, call.bytes());
            put!(text, "\"queued_us\":{},", Micros(*queued_ns));
            ending(text, outcome);
        }
        What::Waiting { sequence, peer } => {
            waiting(text, *peer);
            if let Some(sequence) = sequence {
                put!(text, "\"sequence\":{sequence},");
            }
        }
        What::Working { phase, sequence, bytes } => {
            let name = match phase {
                Phase::Folding => "folding",
                Phase::Copying => "copying",
                Phase::Scaling => "scaling",
                Phase::Encoding => "encoding",
                Phase::Decoding => "decoding",
            };
            put!(text, "\"cat\":\"work\",\"name\":\"{name}\",\"args\":{{");
            put!(text, "\"sequence\":{sequence},\"bytes\":{bytes},");
        }
        What::Message { request, number, outcome } => {
            message(text, request, *number);
            if let Ok(Some(received)) = outcome {
                let bytes = received.count as u64 * dtype(request).size() as u64;
                let (source, tag) = (received.source, received.tag);
                put!(text, "\"peer\":{source},\"tag\":{tag},\"bytes\":{bytes},");
            }
            ending(text, outcome);
        }
        What::AwaitingMessages { peer } => waiting(text, *peer),
    }
    put!(text, "\"communicator\":\"{}\"}}}}", Name(*communicator));
}

fn waiting(text: &mut String, peer: Option<Rank>) {
    put!(text, "\"cat\":\"wait\",");
    match peer {
        Some(peer) => {
            put!(text, "\"name\":\"waiting for rank {peer}\",\"args\":{{\"peer\":{peer},");
        }
        None => {
            put!(text, "\"name\":\"waiting\",\"args\":{{");
        }
    }
}

/// What was asked for: of a send all that there is to say, of a receive what it takes.
fn message(text: &mut String, request: &Request, number: u64) {
    let mut call = String::new();
    let name = match request {
        Request::Send { to, tag, dtype, count, .. } => {
            put!(call, "send({count} x {dtype}, to={to}, tag={tag})");
            "send"
        }
        Request::Receive { from, tag, dtype, count, .. } => {
            put!(call, "recv({count} x {dtype}, from=");
            match from {
                Source::Rank(rank) => {
                    put!(call, "{rank}");
                }
                Source::Any => call.push_str("any"),
            }
            match tag {
                Tag::Is(tag) => {
                    put!(call, ", tag={tag})");
                }
                Tag::Any => call.push_str(", tag=any)"),
            }
            "recv"
        }
    };
    put!(text, "\"cat\":\"message\",\"name\":\"{name}\",\"args\":{{");
    put!(text, "\"call\":\"{call}\",\"number\":{number},");
    if let Request::Send { to, tag, dtype, count, .. } = request {
        put!(text, "\"peer\":{to},\"tag\":{tag},\"bytes\":{},", count * dtype.size() as u64);
    }
}

fn dtype(request: &Request) -> crate::types::DataType {
    match request {
        Request::Send { dtype, .. } | Request::Receive { dtype, .. } => *dtype,
    }
}

fn ending<T>(text: &mut String, outcome: &Result<T>) {
    match outcome {
        Ok(_) => text.push_str("\"outcome\":\"ok\","),
        Err(error) => failure(text, error),
    }
}

fn failure(text: &mut String, error: &Error) {
    let kind = error.kind().name();
    put!(text, "\"outcome\":\"{kind}\",\"error\":{},", Quoted(error.message()));
    if let Some(peer) = error.peer() {
        put!(text, "\"blamed\":{peer},");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::clock::Stretch;
    use crate::error::ErrorKind;
    use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

    #[test]
    fn an_operation_that_was_aborted_says_so_and_why_whatever_the_reason_is_made_of() {
        let call = Call {
            collective: Collective::Allreduce,
            algorithm: Algorithm::Ring,
            dtype: DataType::Float32,
            op: ReduceOp::Sum,
            root: 0,
            count: 5,
            wire: Wire::Plain,
        };
        let error = Error::new(ErrorKind::Aborted, "a \"b\" \\ \n").with_peer(2);
        let what = What::Collective {
            call,
            label: Some("läuft".into()),
            sequence: Some(4),
            queued_ns: 1500,
            outcome: Err(error),
        };
        let stretch = Stretch { from_ns: 12_345_678, to_ns: 12_345_999 };
        let mut text = String::new();
        event(&mut text, 3, 9, &Event { communicator: (0xab, 1), stretch, what });
        assert_eq!(
            text,
            ",\n{\"ph\":\"X\",\"pid\":3,\"tid\":9,\"ts\":12345.678,\"dur\":0.321,\
             \"cat\":\"collective\",\"name\":\"läuft\",\"args\":{\
             \"call\":\"allreduce(5 x float32, sum)\",\"sequence\":4,\"algorithm\":\"ring\",\
             \"bytes\":20,\"queued_us\":1.500,\"outcome\":\"aborted\",\
             \"error\":\"a \\\"b\\\" \\\\ \\u000a\",\"blamed\":2,\
             \"communicator\":\"00000000000000ab.1\"}}"
        );
    }
}
