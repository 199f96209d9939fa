//! Frames and handshakes as bytes. Pure: no socket, no clock, no payload.

#![forbid(unsafe_code)]

pub mod auth;
