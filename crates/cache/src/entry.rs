//! What is stored, and what a reader gets.

use std::time::Duration;

use bytes::{BufMut as _, Bytes};

/// The version of a committed row: 1 and up, higher with every change, never lower again, also across deletion and
/// re-creation. Below 2^53, so that Lua can compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

/// The number is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 1 to 2^53 - 1, not {0}")]
pub struct InvalidVersion(i64);

impl Version {
    const HIGHEST: i64 = (1 << 53) - 1;

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Version {
    type Error = InvalidVersion;

    fn try_from(version: i64) -> Result<Version, InvalidVersion> {
        if (1..=Version::HIGHEST).contains(&version) {
            Ok(Version(version))
        } else {
            Err(InvalidVersion(version))
        }
    }
}

/// What a source loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The row's version.
    pub version: Version,
    /// One byte of the caller's own, for what it must know without parsing the body.
    pub mark: u8,
    /// The bytes that the API answers with.
    pub body: Bytes,
}

/// An entry that was found, in Redis or at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row's version.
    pub version: Version,
    /// As it was [loaded](Loaded::mark).
    pub mark: u8,
    /// The bytes that the API answers with.
    pub body: Bytes,
    /// How this read was answered.
    pub status: CacheStatus,
}

/// How the cache handled a request. The order is that of what it cost: of several entries, the greatest says what the whole cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheStatus {
    /// Answered from Redis.
    Hit,
    /// Redis did not answer, and had not before; answered from this process's own layer, at most a second old.
    HitLocal,
    /// Answered from Redis with an entry past its soft expiry, which is refreshed behind the answer (RFC 5861).
    HitStale,
    /// Answered from Redis with an entry that should have been reloaded, and could not be (RFC 5861).
    HitOnError,
    /// Another process loaded and stored it meanwhile.
    Awaited(Forward),
    /// Shared what another reader of this process loaded or got.
    Collapsed(Forward),
    /// Loaded, and stored for the next reader.
    Stored(Forward),
    /// Loaded, and not stored: something newer is known, it is too large, or Redis did not help.
    Loaded(Forward),
}

/// Why the source was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forward {
    /// There was no entry.
    Miss,
    /// There was one, too old to be answered without asking.
    Stale,
    /// Redis did not help, or another release's entry was there, which this one leaves alone.
    Bypass,
}

impl CacheStatus {
    /// The value of a `Cache-Status` header (RFC 9211) in which the cache is called `cache`, a token.
    pub fn header_value(self, cache: &str) -> String {
        let (forward, rest) = match self {
            CacheStatus::Hit => (None, ""),
            CacheStatus::HitLocal => (None, "; detail=local"),
            CacheStatus::HitStale => (None, "; detail=stale-while-revalidate"),
            CacheStatus::HitOnError => (None, "; detail=stale-if-error"),
            CacheStatus::Awaited(forward) => (Some(forward), "; collapsed; detail=elsewhere"),
            CacheStatus::Collapsed(forward) => (Some(forward), "; collapsed"),
            CacheStatus::Stored(forward) => (Some(forward), "; stored"),
            CacheStatus::Loaded(forward) => (Some(forward), ""),
        };
        let how = match forward {
            None => "hit",
            Some(Forward::Miss) => "fwd=miss",
            Some(Forward::Stale) => "fwd=stale",
            Some(Forward::Bypass) => "fwd=bypass",
        };
        format!("{cache}; {how}{rest}")
    }
}

/// What an entry begins with, all of it big-endian: schema u16, version i64 (frozen for `c1`: the scripts and every release
/// read them), then loaded at and soft expiry (Redis time, ms since 1970, u64 each), load cost (ms, u32), flags, mark.
pub(crate) struct Header {
    pub(crate) schema: u16,
    pub(crate) version: i64,
    pub(crate) loaded_at: u64,
    pub(crate) soft_expiry: u64,
    pub(crate) cost: u64,
    flags: u8,
    mark: u8,
}

impl Header {
    pub(crate) const BYTES: usize = 2 + 8 + 8 + 8 + 4 + 1 + 1;

    /// `None` when they are too few, or no header of this layout.
    pub(crate) fn of(bytes: &[u8]) -> Option<Header> {
        let (header, _) = bytes.split_first_chunk::<{ Header::BYTES }>()?;
        let number = |from: usize, to: usize| {
            header[from..to]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        Some(Header {
            schema: u16::from_be_bytes([header[0], header[1]]),
            version: i64::try_from(number(2, 10)).ok()?,
            loaded_at: number(10, 18),
            soft_expiry: number(18, 26),
            cost: number(26, 30),
            flags: header[30],
            mark: header[31],
        })
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.flags & ABSENT != 0
    }
}

/// The source has no such row; there is no body, and the version is the floor that the lease returned.
const ABSENT: u8 = 1;

/// An entry as Redis holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// At least 0, which is an absence's alone: it may have no version.
    pub(crate) version: i64,
    /// When its lease was taken, before its load began: Redis time, ms.
    pub(crate) loaded_at: u64,
    /// From when on it is stale: Redis time, ms.
    pub(crate) soft_expiry: u64,
    /// What loading and storing costs, for early refreshes.
    pub(crate) cost: Duration,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    Present { mark: u8, body: Bytes },
}

/// What the bytes of a data key are to this release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Entry(Stored),
    /// Cut short, without a version, or of an older release.
    Garbage,
    /// Of a newer release, which is being rolled out.
    Newer,
}

impl Stored {
    pub(crate) fn encode(&self, schema: u16) -> Vec<u8> {
        let (flags, mark, body) = match &self.content {
            Content::Absent => (ABSENT, 0, &Bytes::new()),
            Content::Present { mark, body } => (0, *mark, body),
        };
        let mut bytes = Vec::with_capacity(Header::BYTES + body.len());
        bytes.put_u16(schema);
        bytes.put_i64(self.version);
        bytes.put_u64(self.loaded_at);
        bytes.put_u64(self.soft_expiry);
        bytes.put_u32(u32::try_from(self.cost.as_millis()).unwrap_or(u32::MAX));
        bytes.put_u8(flags);
        bytes.put_u8(mark);
        bytes.put_slice(body);
        bytes
    }

    /// The body is not copied. The scripts take the same for garbage: what was taken for an entry there, and not here, would be
    /// loaded past the lease until it ends.
    pub(crate) fn decode(schema: u16, bytes: Vec<u8>) -> Decoded {
        let Some((frozen, _)) = bytes.split_first_chunk::<10>() else {
            return Decoded::Garbage;
        };
        let (found, version) = frozen.split_at(2);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if number(version) > Version::HIGHEST.unsigned_abs() {
            return Decoded::Garbage;
        }
        if number(found) > u64::from(schema) {
            return Decoded::Newer;
        }
        let (true, Some(header)) = (number(found) == u64::from(schema), Header::of(&bytes)) else {
            return Decoded::Garbage;
        };
        let content = if header.is_absent() {
            Content::Absent
        } else if header.version > 0 {
            let body = Bytes::from(bytes).slice(Header::BYTES..);
            Content::Present {
                mark: header.mark,
                body,
            }
        } else {
            return Decoded::Garbage;
        };
        Decoded::Entry(Stored {
            version: header.version,
            loaded_at: header.loaded_at,
            soft_expiry: header.soft_expiry,
            cost: Duration::from_millis(header.cost),
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_bytes_are_these() {
        let stored = Stored {
            version: 258,
            loaded_at: 3,
            soft_expiry: 4,
            cost: Duration::from_millis(5),
            content: Content::Present {
                mark: 7,
                body: Bytes::from_static(b"{}"),
            },
        };
        let bytes = stored.encode(3);
        let expected = [
            0, 3, // schema
            0, 0, 0, 0, 0, 0, 1, 2, // version
            0, 0, 0, 0, 0, 0, 0, 3, // loaded at
            0, 0, 0, 0, 0, 0, 0, 4, // soft expiry
            0, 0, 0, 5, // cost
            0, 7, // flags, mark
            b'{', b'}',
        ];
        assert_eq!(bytes, expected);
        assert_eq!(Stored::decode(3, bytes.clone()), Decoded::Entry(stored));
        assert_eq!(Stored::decode(2, bytes.clone()), Decoded::Newer);
        assert_eq!(Stored::decode(4, bytes), Decoded::Garbage);
        assert_eq!(Stored::decode(3, vec![0, 3, 0]), Decoded::Garbage);
        assert_eq!(Stored::decode(3, vec![]), Decoded::Garbage);
    }

    #[test]
    fn a_status_is_a_header_s_value() {
        for (status, expected) in [
            (CacheStatus::Hit, "shop; hit"),
            (CacheStatus::HitOnError, "shop; hit; detail=stale-if-error"),
            (CacheStatus::Stored(Forward::Stale), "shop; fwd=stale; stored"),
            (CacheStatus::Loaded(Forward::Bypass), "shop; fwd=bypass"),
            (
                CacheStatus::Awaited(Forward::Miss),
                "shop; fwd=miss; collapsed; detail=elsewhere",
            ),
        ] {
            assert_eq!(status.header_value("shop"), expected);
        }
    }

    #[test]
    fn what_has_no_version_is_garbage_also_in_a_higher_schema() {
        for (version, schema, expected) in [
            (0, 1, Decoded::Garbage),
            (-1, 1, Decoded::Garbage),
            (1 << 53, 1, Decoded::Garbage),
            (i64::MAX, 2, Decoded::Garbage),
            (0, 2, Decoded::Newer),
        ] {
            let stored = Stored {
                version,
                loaded_at: 1,
                soft_expiry: 2,
                cost: Duration::ZERO,
                content: Content::Present {
                    mark: 0,
                    body: Bytes::new(),
                },
            };
            assert_eq!(Stored::decode(1, stored.encode(schema)), expected, "{version}");
        }
    }

    #[test]
    fn an_absence_has_a_version_and_no_body() {
        let absent = Stored {
            version: 0,
            loaded_at: 1,
            soft_expiry: 2,
            cost: Duration::ZERO,
            content: Content::Absent,
        };
        assert_eq!(Stored::decode(1, absent.encode(1)), Decoded::Entry(absent));
    }

    #[test]
    fn a_version_is_a_number_that_lua_can_compare() {
        assert!(Version::try_from(0).is_err());
        assert!(Version::try_from(1 << 53).is_err());
        assert_eq!(Version::try_from(1).unwrap().get(), 1);
    }
}
