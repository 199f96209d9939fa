//! Proof that a peer knows the job's token: HMAC-SHA-256 over what both sides said.
//!
//! The token itself never travels. A proof covers a label, so that one made for a store cannot be
//! shown to a link, and both sides' nonces, so that none can be shown twice.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of one side's fresh random number.
pub const NONCE_BYTES: usize = 32;
/// Bytes of a proof.
pub const MAC_BYTES: usize = 32;

/// A fresh random number, never used twice.
pub type Nonce = [u8; NONCE_BYTES];

/// The secret that the ranks of a job share.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    /// A token of these bytes. Length and origin are the business of `rendezvous::token`.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Token(secret.into())
    }

    /// The secret itself, for handing it on to a child process.
    pub fn secret(&self) -> &[u8] {
        &self.0
    }

    /// The proof for a label and a list of parts. Each part goes in behind its length, so that no
    /// two lists give the same bytes.
    pub fn prove(&self, label: &str, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.start(label, parts).finalize().into_bytes().into()
    }

    /// Whether a proof is right, in a time that does not tell where it is wrong.
    pub fn verify(&self, label: &str, parts: &[&[u8]], proof: &[u8; MAC_BYTES]) -> bool {
        self.start(label, parts).verify_slice(proof).is_ok()
    }

    fn start(&self, label: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_fits_only_its_own_label_parts_and_token() {
        let token = Token::new("secret");
        let proof = token.prove("link", &[b"ab", b"c"]);
        assert!(token.verify("link", &[b"ab", b"c"], &proof));
        assert!(!token.verify("store", &[b"ab", b"c"], &proof));
        assert!(!token.verify("link", &[b"a", b"bc"], &proof));
        assert!(!Token::new("other").verify("link", &[b"ab", b"c"], &proof));
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        assert_eq!(format!("{:?}", Token::new("secret")), "Token(…)");
    }
}
