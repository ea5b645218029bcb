//! What is stored, and what a reader gets.

use bytes::{BufMut as _, Bytes};

/// What a source loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The row's version: at least 1, and higher with every committed change. Below 2^53.
    pub version: i64,
    /// One byte of the caller's own, for what it must know without parsing the body.
    pub mark: u8,
    /// The bytes that the API answers with.
    pub body: Bytes,
}

/// An entry that was found, in Redis or at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub version: i64,
    pub mark: u8,
    pub body: Bytes,
    pub status: CacheStatus,
}

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered from Redis.
    Hit,
    /// Loaded, and stored for the next reader.
    Stored,
    /// Loaded, and not stored: something newer is known.
    Missed,
    /// Loaded, because Redis did not answer.
    Bypassed,
}

impl CacheStatus {
    /// The value of a `Cache-Status` header (RFC 9211).
    pub fn header_value(self) -> &'static str {
        match self {
            CacheStatus::Hit => "plumbline; hit",
            CacheStatus::Stored => "plumbline; fwd=miss; stored",
            CacheStatus::Missed => "plumbline; fwd=miss",
            CacheStatus::Bypassed => "plumbline; fwd=bypass",
        }
    }
}

/// Schema and version, which the scripts read too, then the mark. These bytes never change within `c1`.
const HEADER: usize = 2 + 8 + 1;

pub(crate) fn encode(schema: u16, loaded: &Loaded) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER + loaded.body.len());
    stored.put_u16(schema);
    stored.put_i64(loaded.version);
    stored.put_u8(loaded.mark);
    stored.put_slice(&loaded.body);
    stored
}

/// `None` when the entry is of another schema, or cut short.
pub(crate) fn decode(schema: u16, stored: Vec<u8>) -> Option<Entry> {
    let (header, _) = stored.split_first_chunk::<HEADER>()?;
    let [s0, s1, version @ .., mark] = *header;
    if u16::from_be_bytes([s0, s1]) != schema {
        return None;
    }
    Some(Entry {
        version: i64::from_be_bytes(version),
        mark,
        body: Bytes::from(stored).slice(HEADER..),
        status: CacheStatus::Hit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_bytes_are_these() {
        let loaded = Loaded {
            version: 258,
            mark: 7,
            body: Bytes::from_static(b"{}"),
        };
        let stored = encode(3, &loaded);
        assert_eq!(stored, [0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 7, b'{', b'}']);
        let entry = decode(3, stored.clone()).unwrap();
        assert_eq!((entry.version, entry.mark, &entry.body[..]), (258, 7, &b"{}"[..]));
        assert_eq!(decode(4, stored), None);
        assert_eq!(decode(3, vec![0, 3, 0]), None);
    }
}
