//! The side that opened the connection.

use super::message::{Challenge, Message, Versions};
use super::transport::{Received, Transport};
use super::{Established, Hello, Local, State, terms};
use crate::error::{Error, ErrorKind};
use crate::limits::{JOB_ID_MAX, WORLD_SIZE_MAX};
use crate::wire::WireError;
use crate::wire::auth::{MAC_BYTES, Token};

/// Shakes hands as the one who dialled. Does nothing by itself: its owner sends what `output`
/// gives, reads, feeds what it read, and looks at `state`.
#[derive(Debug)]
pub struct Dialer {
    hello: Hello,
    token: Token,
    transport: Transport,
    /// The hello as it travels; both proofs cover it.
    hello_bytes: Vec<u8>,
    /// What the acceptor said, once it has.
    challenge: Option<(Challenge, Vec<u8>)>,
    state: State,
}

impl Dialer {
    /// A handshake whose hello waits in `output`.
    ///
    /// Where the hello itself breaks a limit (job id, world size, ranks), the state is at once
    /// `Failed` and there is nothing to send.
    pub fn new(hello: Hello, token: Token) -> Dialer {
        let mut dialer = Dialer {
            token,
            transport: Transport::default(),
            hello_bytes: Vec::new(),
            challenge: None,
            state: State::InProgress,
            hello,
        };
        match check(&dialer.hello) {
            Ok(()) => {
                let hello = Message::Hello(Versions::OWN, dialer.hello.clone());
                dialer.hello_bytes = dialer.transport.send(&hello);
            }
            Err(error) => dialer.fail(error),
        }
        dialer
    }

    /// Takes what came from the acceptor and gives how many bytes were taken. The rest belongs to
    /// the link: bytes behind the handshake are never taken.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && matches!(self.state, State::InProgress) {
            let (more, result) = self.transport.receive(&bytes[taken..]);
            taken += more;
            let result = match result {
                Ok(None) => Ok(()),
                Ok(Some(Received { message, bytes })) => self.handle(message, bytes),
                Err(error) => Err(self.broken(error)),
            };
            if let Err(error) = result {
                self.fail(error);
            }
        }
        taken
    }

    /// How many bytes can be read next without reading beyond the handshake; 0 once it is over.
    pub fn wants(&self) -> usize {
        if matches!(self.state, State::InProgress) { self.transport.wants_bytes() } else { 0 }
    }

    /// What is to be sent next, if anything; whole messages.
    pub fn output(&mut self) -> Option<Vec<u8>> {
        self.transport.take_output()
    }

    /// How far the handshake is.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn handle(&mut self, message: Message, bytes: Vec<u8>) -> Result<(), Error> {
        // P-31
        match (message, &self.challenge) {
            (Message::Challenge(challenge), None) => self.handle_challenge(challenge, bytes),
            (Message::Welcome(proof), Some(_)) => self.handle_welcome(&proof),
            (Message::Refuse { kind, reason }, _) => Err(Error::new(
                kind,
                format!("rank {} refused the link: {reason}", self.hello.peer_rank),
            )),
            (other, challenge) => {
                let expected = if challenge.is_none() { "challenge" } else { "welcome" };
                let error = WireError::Unexpected { found: other.name(), expected };
                Err(self.broken(error))
            }
        }
    }

    fn handle_challenge(&mut self, challenge: Challenge, bytes: Vec<u8>) -> Result<(), Error> {
        let peer = Local {
            job: challenge.job.clone(),
            world: challenge.world,
            process: challenge.process,
            rank: challenge.rank,
            byte_position: challenge.byte_position,
            checksums: challenge.checksums,
        };
        // P-39: the acceptor has asked the same; this side does not rely on it.
        terms::agree(&self.hello, &peer).map_err(|error| self.tell(error))?;
        let proof = terms::dialer_proof(&self.token, &self.hello_bytes, &bytes);
        self.transport.send(&Message::Proof(proof));
        self.challenge = Some((challenge, bytes));
        Ok(())
    }

    /// P-35. A wrong proof is not answered: the other side already counts this link as open, and
    /// would take a refusal for a frame. It sees the connection close.
    fn handle_welcome(&mut self, proof: &[u8; MAC_BYTES]) -> Result<(), Error> {
        let Some((challenge, bytes)) = &self.challenge else {
            return Err(Error::new(ErrorKind::Internal, "a welcome was handled out of turn"));
        };
        if !terms::acceptor_fits(&self.token, &self.hello_bytes, bytes, proof) {
            return Err(terms::wrong_acceptor(&self.hello));
        }
        self.state = State::Established(Established {
            hello: self.hello.clone(),
            version: challenge.version,
            peer_process: challenge.process,
            peer_rank: challenge.rank,
            peer_byte_position: challenge.byte_position,
        });
        Ok(())
    }

    /// An error for bytes that break a rule, told to the peer too.
    fn broken(&mut self, error: WireError) -> Error {
        let peer = self.hello.peer_rank;
        let error =
            Error::new(error.kind(), format!("the handshake with rank {peer} failed: {error}"));
        self.tell(error)
    }

    /// Sends the error to the peer as well.
    fn tell(&mut self, error: Error) -> Error {
        self.transport.send_refusal(&error);
        error
    }

    fn fail(&mut self, error: Error) {
        let error = error.with_rank(self.hello.rank).with_peer(self.hello.peer_rank);
        self.state = State::Failed(error);
    }
}

/// Whether the hello keeps the limits that every acceptor holds it against.
fn check(hello: &Hello) -> Result<(), Error> {
    let wrong = |message| Err(Error::new(ErrorKind::InvalidArgument, message));
    if hello.job.len() > JOB_ID_MAX {
        return wrong(format!(
            "the job id has {} bytes; at most {JOB_ID_MAX} are allowed",
            hello.job.len()
        ));
    }
    if hello.world == 0 || hello.world > WORLD_SIZE_MAX {
        return wrong(format!(
            "a world of {} ranks cannot be; 1 to {WORLD_SIZE_MAX} are allowed",
            hello.world
        ));
    }
    if hello.rank >= hello.world || hello.peer_rank >= hello.world {
        return wrong(format!(
            "rank {} cannot dial rank {} in a world of {}",
            hello.rank, hello.peer_rank, hello.world
        ));
    }
    Ok(())
}
