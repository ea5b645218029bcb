//! Tokens are made here with the library's own encoder, so that each row can be wrong in exactly one way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signed;

mod access_tokens;
mod assertions;
mod key_files;
