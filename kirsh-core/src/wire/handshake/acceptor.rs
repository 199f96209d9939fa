//! The side that was dialled.

use super::message::{Challenge, Message};
use super::transport::{Received, Transport};
use super::{Established, Hello, Local, State, terms};
use crate::error::{Error, ErrorKind};
use crate::wire::WireError;
use crate::wire::auth::{MAC_BYTES, Nonce, Token};
use crate::wire::header::VERSION;

/// Shakes hands as the one who was dialled. Does nothing by itself: its owner reads, feeds what
/// it read, answers the offer when `state` shows one, and sends what `output` gives.
#[derive(Debug)]
pub struct Acceptor {
    nonce: Nonce,
    transport: Transport,
    phase: Phase,
    state: State,
}

/// What has been heard from the dialer.
#[derive(Debug)]
enum Phase {
    /// Nothing yet.
    Hello,
    /// Its hello, here as it travelled; the owner is to answer.
    Offer { hello: Hello, hello_bytes: Vec<u8> },
    /// The challenge went out; the proof is to come.
    Proof {
        hello: Hello,
        hello_bytes: Vec<u8>,
        challenge_bytes: Vec<u8>,
        local: Local,
        token: Token,
    },
}

impl Acceptor {
    /// A handshake that waits for a hello. The nonce is fresh for this connection.
    pub fn new(nonce: Nonce) -> Acceptor {
        Acceptor {
            nonce,
            transport: Transport::default(),
            phase: Phase::Hello,
            state: State::InProgress,
        }
    }

    /// Takes what came from the dialer and gives how many bytes were taken. The rest belongs to
    /// the link: bytes behind the handshake are never taken. Nothing is taken while an offer waits
    /// for its answer.
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

    /// How many bytes can be read next without reading beyond the handshake; 0 while an offer
    /// waits for its answer and once the handshake is over.
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

    /// Answers the offer: this is who we are. If the dialer meant somebody else, it is refused
    /// here with an error that names both sides' values; else it is asked for its proof.
    /// Does nothing where no offer waits.
    pub fn accept(&mut self, local: Local, token: Token) {
        let Phase::Offer { hello, hello_bytes } = std::mem::replace(&mut self.phase, Phase::Hello)
        else {
            return;
        };
        // P-39
        if let Err(error) = terms::agree(&hello, &local) {
            return self.refuse_hello(error.with_rank(local.rank).with_peer(hello.rank));
        }
        let challenge = Message::Challenge(Challenge {
            version: VERSION,
            checksums: local.checksums,
            world: local.world,
            rank: local.rank,
            process: local.process,
            byte_position: local.byte_position,
            nonce: self.nonce,
            job: local.job.clone(),
        });
        let challenge_bytes = self.transport.send(&challenge);
        self.phase = Phase::Proof { hello, hello_bytes, challenge_bytes, local, token };
        self.state = State::InProgress;
    }

    /// Answers the offer: no. The dialer gets the error's kind and message, and this handshake
    /// ends with that error. Also ends a handshake that is still waiting for bytes, at a deadline
    /// say. Does nothing to one that is over.
    pub fn refuse(&mut self, error: Error) {
        if matches!(self.state, State::InProgress | State::Offered(_)) {
            self.refuse_hello(error);
        }
    }

    fn handle(&mut self, message: Message, bytes: Vec<u8>) -> Result<(), Error> {
        // P-31
        match message {
            Message::Refuse { kind, reason } => {
                let who = match &self.phase {
                    Phase::Proof { hello, .. } | Phase::Offer { hello, .. } => {
                        format!("rank {} (which dialled)", hello.rank)
                    }
                    Phase::Hello => "the process that dialled".to_owned(),
                };
                Err(Error::new(kind, format!("{who} broke off the handshake: {reason}")))
            }
            Message::Hello(_, hello) if matches!(self.phase, Phase::Hello) => {
                self.state = State::Offered(hello.clone());
                self.phase = Phase::Offer { hello, hello_bytes: bytes };
                Ok(())
            }
            // P-38
            Message::ForeignHello(versions) if matches!(self.phase, Phase::Hello) => {
                Err(self.tell(terms::no_version(versions)))
            }
            Message::Proof(proof) if matches!(self.phase, Phase::Proof { .. }) => {
                self.handle_proof(&proof)
            }
            other => {
                let expected = if matches!(self.phase, Phase::Hello) { "hello" } else { "proof" };
                let error = WireError::Unexpected { found: other.name(), expected };
                Err(self.broken(error))
            }
        }
    }

    /// P-34
    fn handle_proof(&mut self, proof: &[u8; MAC_BYTES]) -> Result<(), Error> {
        let Phase::Proof { hello, hello_bytes, challenge_bytes, local, token } = &self.phase else {
            return Err(Error::new(ErrorKind::Internal, "a proof was handled out of turn"));
        };
        if !terms::dialer_fits(token, hello_bytes, challenge_bytes, proof) {
            let error = terms::wrong_dialer(hello, local);
            return Err(self.tell(error));
        }
        let welcome = terms::acceptor_proof(token, hello_bytes, challenge_bytes);
        self.state = State::Established(Established {
            version: VERSION,
            peer_process: hello.process,
            peer_rank: hello.rank,
            peer_byte_position: hello.byte_position,
            hello: hello.clone(),
        });
        self.transport.send(&Message::Welcome(welcome));
        Ok(())
    }

    fn refuse_hello(&mut self, error: Error) {
        let error = self.tell(error);
        self.fail(error);
    }

    /// An error for bytes that break a rule, told to the peer too.
    fn broken(&mut self, error: WireError) -> Error {
        let error = Error::new(
            error.kind(),
            format!("the handshake with a process that dialled failed: {error}"),
        );
        self.tell(error)
    }

    /// Sends the error to the peer as well.
    fn tell(&mut self, error: Error) -> Error {
        self.transport.send_refusal(&error);
        error
    }

    fn fail(&mut self, error: Error) {
        let error = match &self.phase {
            Phase::Hello | Phase::Offer { .. } => error,
            Phase::Proof { hello, local, .. } => error.with_rank(local.rank).with_peer(hello.rank),
        };
        self.state = State::Failed(error);
    }
}
