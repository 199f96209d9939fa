//! Turns the byte streams of many ranks into whole, labelled lines. Pure: bytes in, bytes out.
//!
//! A piece is what a rank wrote up to and including a newline or a carriage return. Only whole
//! pieces are passed on, so two ranks never share a line. A piece that leaves the line open (a
//! progress bar's carriage return, a line too long to be held, a last line without an end) keeps
//! the cursor: the same rank may redraw or go on, and anybody else's piece first ends that line.
//! Those newlines, and the labels, are the only bytes that a rank did not write itself.

use crate::limits::OUTPUT_LINE_BYTES_MAX;

/// How the last thing written to a sink left its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// With a carriage return: the stream's next piece draws over it.
    Return,
    /// In the middle: the stream's next piece continues it.
    Middle,
}

struct Stream {
    /// What goes in front of each line; empty for none.
    label: Vec<u8>,
    /// The beginning of a piece whose end has not come yet.
    pending: Vec<u8>,
    /// Somebody else's piece has ended this stream's open line, so a bare newline is done already.
    ended_by_other: bool,
}

/// The lines of a number of streams that go to the same few sinks.
pub(super) struct Lines {
    streams: Vec<Stream>,
    /// Per screen: which stream has left its line open, and how.
    open: Vec<Option<(usize, Open)>>,
}

impl Lines {
    /// Streams with these labels, and so many screens. Two sinks that show the same terminal are
    /// one screen.
    pub(super) fn new(labels: Vec<Vec<u8>>, screens: usize) -> Self {
        let streams = labels
            .into_iter()
            .map(|label| Stream { label, pending: Vec::new(), ended_by_other: false })
            .collect();
        Lines { streams, open: vec![None; screens] }
    }

    /// Takes what a stream has said and appends what can be shown of it to `out`.
    pub(super) fn feed(&mut self, stream: usize, screen: usize, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
            let ended = matches!(piece.last(), Some(b'\n' | b'\r'));
            if ended && self.streams[stream].pending.is_empty() {
                self.emit(stream, screen, piece, out);
                continue;
            }
            self.streams[stream].pending.extend_from_slice(piece);
            if ended || self.streams[stream].pending.len() >= OUTPUT_LINE_BYTES_MAX {
                self.flush(stream, screen, out);
            }
        }
    }

    /// Appends what a stream has said of a line that it did not end; for when it has ended itself.
    pub(super) fn flush(&mut self, stream: usize, screen: usize, out: &mut Vec<u8>) {
        let mut pending = std::mem::take(&mut self.streams[stream].pending);
        if !pending.is_empty() {
            self.emit(stream, screen, &pending, out);
            pending.clear();
            self.streams[stream].pending = pending;
        }
    }

    /// Appends a message of nobody's stream, on a line of its own.
    pub(super) fn interject(&mut self, screen: usize, message: &[u8], out: &mut Vec<u8>) {
        self.close(screen, out);
        out.extend_from_slice(message);
    }

    /// Ends the line that somebody left open on a screen, if there is one.
    pub(super) fn close(&mut self, screen: usize, out: &mut Vec<u8>) {
        if let Some((owner, _)) = self.open[screen].take() {
            out.push(b'\n');
            self.streams[owner].ended_by_other = true;
        }
    }

    /// Whether a stream has left the line of this screen open and labels are in use, so that the
    /// line is better ended before others write there.
    pub(super) fn ends_untidily(&self, screen: usize) -> bool {
        self.open[screen].is_some_and(|(owner, _)| !self.streams[owner].label.is_empty())
    }

    fn emit(&mut self, stream: usize, screen: usize, piece: &[u8], out: &mut Vec<u8>) {
        let bare = piece == b"\n" || piece == b"\r";
        let mine = match self.open[screen] {
            Some((owner, open)) if owner == stream => Some(open),
            Some(_) => {
                self.close(screen, out);
                None
            }
            None => None,
        };
        let labelled = !self.streams[stream].label.is_empty();
        let ended_by_other = std::mem::take(&mut self.streams[stream].ended_by_other);
        match mine {
            // The second half of "\r\n", or the rest of a long line: the label stands already.
            Some(Open::Return) if bare => {}
            Some(Open::Middle) => {}
            None if ended_by_other && bare => return,
            // At the start of a line it moves nothing; progress bars begin with one.
            None if labelled && piece == b"\r" => return,
            _ => out.extend_from_slice(&self.streams[stream].label),
        }
        out.extend_from_slice(piece);
        self.open[screen] = match piece.last() {
            Some(b'\n') => None,
            Some(b'\r') => Some((stream, Open::Return)),
            _ => Some((stream, Open::Middle)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (stream, bytes) in turn to one screen and gives what it shows.
    fn show(labels: &[&str], said: &[(usize, &[u8])]) -> Vec<u8> {
        let labels = labels.iter().map(|label| label.as_bytes().to_vec()).collect::<Vec<_>>();
        let count = labels.len();
        let mut lines = Lines::new(labels, 1);
        let mut out = Vec::new();
        for &(stream, bytes) in said {
            lines.feed(stream, 0, bytes, &mut out);
        }
        for stream in 0..count {
            lines.flush(stream, 0, &mut out);
        }
        out
    }

    const TWO: &[&str] = &["[0] ", "[1] "];

    #[test]
    fn lines_that_come_in_parts_stay_whole() {
        let out = show(TWO, &[(0, b"he"), (1, b"wor"), (0, b"llo\n"), (1, b"ld\n\nx\n")]);
        assert_eq!(out, b"[0] hello\n[1] world\n[1] \n[1] x\n");
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        assert_eq!(show(TWO, &[(1, b"\xff\x00\xfe\n")]), b"[1] \xff\x00\xfe\n");
    }

    #[test]
    fn last_lines_without_an_end_are_kept_apart() {
        assert_eq!(show(TWO, &[(0, b"a"), (1, b"b")]), b"[0] a\n[1] b");
    }

    #[test]
    fn a_progress_bar_redraws_until_somebody_else_speaks() {
        let out = show(TWO, &[(0, b"\r10%\r20%\r"), (1, b"hi\n"), (0, b"30%\r"), (0, b"\n")]);
        assert_eq!(out, b"[0] 10%\r[0] 20%\r\n[1] hi\n[0] 30%\r\n");
    }

    #[test]
    fn a_newline_that_was_written_already_is_not_doubled() {
        let out = show(TWO, &[(0, b"100%\r"), (1, b"hi\n"), (0, b"\n"), (0, b"\nnext\n")]);
        assert_eq!(out, b"[0] 100%\r\n[1] hi\n[0] \n[0] next\n");
    }

    #[test]
    fn carriage_return_and_newline_are_one_end() {
        assert_eq!(show(TWO, &[(0, b"a\r\nb\r"), (0, b"\nc\n")]), b"[0] a\r\n[0] b\r\n[0] c\n");
    }

    #[test]
    fn an_endless_line_is_passed_on_in_bounded_parts() {
        let mut lines = Lines::new(vec![b"[0] ".to_vec()], 1);
        let (mut out, part) = (Vec::new(), vec![b'x'; 4096]);
        for _ in 0..1024 {
            lines.feed(0, 0, &part, &mut out);
            assert!(lines.streams[0].pending.len() < OUTPUT_LINE_BYTES_MAX);
            assert!(lines.streams[0].pending.capacity() <= 2 * OUTPUT_LINE_BYTES_MAX);
        }
        lines.feed(0, 0, b"\n", &mut out);
        assert_eq!(out.len(), 4 + 1024 * 4096 + 1, "one label, every byte, one newline");
    }

    #[test]
    fn a_long_line_that_is_interrupted_goes_on_under_its_label() {
        let long = vec![b'x'; OUTPUT_LINE_BYTES_MAX];
        let out = show(TWO, &[(0, &long), (1, b"hi\n"), (0, b"tail\n")]);
        let expected = [b"[0] ".as_slice(), &long, b"\n[1] hi\n[0] tail\n"].concat();
        assert!(out == expected);
    }

    #[test]
    fn without_labels_every_byte_passes_as_it_is() {
        let said = b"\r\r\n10%\r20%\r\nlast".as_slice();
        assert_eq!(show(&["", ""], &[(0, said)]), said);
    }

    #[test]
    fn a_message_gets_a_line_of_its_own() {
        let mut lines = Lines::new(vec![b"[0] ".to_vec()], 1);
        let mut out = Vec::new();
        lines.feed(0, 0, b"50%\r", &mut out);
        lines.interject(0, b"kirsh: note\n", &mut out);
        lines.feed(0, 0, b"60%\r", &mut out);
        assert!(lines.ends_untidily(0));
        lines.close(0, &mut out);
        assert_eq!(out, b"[0] 50%\r\nkirsh: note\n[0] 60%\r\n");
    }
}
