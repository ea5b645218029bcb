//! CloudEvents 1.0 in Kafka's binary mode: an event's attributes are `ce_*` headers, its
//! payload is the record's value. Knows no storefront and no Kafka client.
//!
//! | header | attribute |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | UUIDv7 of the event |
//! | `ce_source` | who states it: `plumbline/app-service` |
//! | `ce_type` | what happened: `plumbline.order.placed` |
//! | `ce_subject` | the aggregate: `order/<uuid>` |
//! | `ce_time` | RFC 3339, UTC |
//! | `ce_partitionkey` | the record's key: the aggregate's id |
//! | `ce_dataschema` | `urn:plumbline:schema:<type>:<schema version>` |
//! | `ce_aggregateversion` | the aggregate's version after the change, decimal |
//! | `ce_actor` | who caused it: a principal, or `system:<job>` |
//! | `content-type` | `application/json` |
//! | `traceparent` | W3C trace context of the request that caused it, if any |

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// An event that a transaction is about to state: one aggregate's new version. The outbox adds
/// id, time, actor and trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub topic: &'static str,
    /// `ce_type`.
    pub kind: &'static str,
    pub schema_version: u16,
    pub aggregate_type: &'static str,
    pub aggregate_id: Uuid,
    /// 1 for the first, then contiguous.
    pub aggregate_version: i64,
    /// The aggregate's whole state after the change, as JSON.
    pub payload: Vec<u8>,
}

/// The attributes of one event; texts are borrowed from the row or record that they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub id: Uuid,
    pub source: &'a str,
    pub kind: &'a str,
    pub schema_version: u16,
    pub aggregate_type: &'a str,
    pub aggregate_id: Uuid,
    pub aggregate_version: i64,
    pub actor: &'a str,
    pub time: OffsetDateTime,
    pub traceparent: Option<&'a str>,
}

/// A header that is missing or not what CloudEvents or this envelope requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {header}: {problem}")]
pub struct Malformed {
    pub header: &'static str,
    pub problem: &'static str,
}

const SCHEMA_PREFIX: &str = "urn:plumbline:schema:";

/// Reusable space for the headers that have to be put together.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
}

impl Scratch {
    fn join(&mut self, parts: &[&str]) -> &str {
        self.text.clear();
        for part in parts {
            self.text.push_str(part);
        }
        &self.text
    }
}

impl<'a> Envelope<'a> {
    /// Hands every header to `push`, in a fixed order; `scratch` is reused between calls. The relay spends a good part of its time
    /// here, so that texts are passed on as they are and the rest is put together without the machinery of `fmt`.
    pub fn write_headers(&self, scratch: &mut Scratch, mut push: impl FnMut(&'static str, &str)) {
        let (mut id, mut aggregate_id) = (Uuid::encode_buffer(), Uuid::encode_buffer());
        let aggregate_id: &str = self.aggregate_id.as_hyphenated().encode_lower(&mut aggregate_id);
        push("ce_specversion", "1.0");
        push("ce_id", self.id.as_hyphenated().encode_lower(&mut id));
        push("ce_source", self.source);
        push("ce_type", self.kind);
        push(
            "ce_subject",
            scratch.join(&[self.aggregate_type, "/", aggregate_id]),
        );
        push("ce_time", timestamp(self.time, &mut [0; 27]));
        push("ce_partitionkey", aggregate_id);
        let mut digits = [0; 20];
        let schema_version = decimal(self.schema_version.into(), &mut digits);
        push(
            "ce_dataschema",
            scratch.join(&[SCHEMA_PREFIX, self.kind, ":", schema_version]),
        );
        // It is 1 or more.
        let version = self.aggregate_version.unsigned_abs();
        push("ce_aggregateversion", decimal(version, &mut [0; 20]));
        push("ce_actor", self.actor);
        push("content-type", "application/json");
        if let Some(traceparent) = self.traceparent {
            push("traceparent", traceparent);
        }
    }

    /// Reads a record's headers; unknown ones are ignored, a repeated one counts once (the first).
    pub fn parse(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Envelope<'a>, Malformed> {
        let mut found = Found::default();
        for (name, value) in headers {
            found.keep(name, value);
        }
        let specversion = required("ce_specversion", found.specversion)?;
        if specversion != "1.0" {
            return Err(Malformed {
                header: "ce_specversion",
                problem: "is not 1.0",
            });
        }
        let kind = required("ce_type", found.kind)?;
        let subject = required("ce_subject", found.subject)?;
        let (aggregate_type, aggregate_id) = subject.split_once('/').ok_or(Malformed {
            header: "ce_subject",
            problem: "is not <aggregate type>/<uuid>",
        })?;
        Ok(Envelope {
            id: uuid("ce_id", required("ce_id", found.id)?)?,
            source: required("ce_source", found.source)?,
            kind,
            schema_version: schema_version(kind, required("ce_dataschema", found.dataschema)?)?,
            aggregate_type,
            aggregate_id: uuid("ce_subject", aggregate_id)?,
            aggregate_version: version(required("ce_aggregateversion", found.aggregateversion)?)?,
            actor: required("ce_actor", found.actor)?,
            time: OffsetDateTime::parse(required("ce_time", found.time)?, &Rfc3339).map_err(|_| {
                Malformed {
                    header: "ce_time",
                    problem: "is not an RFC 3339 time",
                }
            })?,
            traceparent: found
                .traceparent
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
        })
    }
}

#[derive(Default)]
struct Found<'a> {
    specversion: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    dataschema: Option<&'a [u8]>,
    aggregateversion: Option<&'a [u8]>,
    actor: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn keep(&mut self, name: &str, value: Option<&'a [u8]>) {
        let slot = match name {
            "ce_specversion" => &mut self.specversion,
            "ce_id" => &mut self.id,
            "ce_source" => &mut self.source,
            "ce_type" => &mut self.kind,
            "ce_subject" => &mut self.subject,
            "ce_time" => &mut self.time,
            "ce_dataschema" => &mut self.dataschema,
            "ce_aggregateversion" => &mut self.aggregateversion,
            "ce_actor" => &mut self.actor,
            "traceparent" => &mut self.traceparent,
            _ => return,
        };
        if slot.is_none() {
            *slot = value;
        }
    }
}

fn required<'a>(header: &'static str, value: Option<&'a [u8]>) -> Result<&'a str, Malformed> {
    let bytes = value.ok_or(Malformed {
        header,
        problem: "is missing",
    })?;
    std::str::from_utf8(bytes).map_err(|_| Malformed {
        header,
        problem: "is not UTF-8",
    })
}

fn uuid(header: &'static str, text: &str) -> Result<Uuid, Malformed> {
    Uuid::parse_str(text).map_err(|_| Malformed {
        header,
        problem: "holds no UUID",
    })
}

fn version(text: &str) -> Result<i64, Malformed> {
    let version = text.parse().ok().filter(|version| *version >= 1);
    version.ok_or(Malformed {
        header: "ce_aggregateversion",
        problem: "is not a number from 1",
    })
}

fn schema_version(kind: &str, dataschema: &str) -> Result<u16, Malformed> {
    dataschema
        .strip_prefix(SCHEMA_PREFIX)
        .and_then(|rest| rest.strip_prefix(kind))
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|number| number.parse().ok())
        .ok_or(Malformed {
            header: "ce_dataschema",
            problem: "is not the schema of this ce_type",
        })
}

/// RFC 3339 in UTC with microseconds, what PostgreSQL keeps.
fn timestamp(time: OffsetDateTime, text: &mut [u8; 27]) -> &str {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (date, clock) = (time.date(), time.time());
    *text = *b"0000-00-00T00:00:00.000000Z";
    // Events of other years than 0 to 9999 can't be stated.
    write_digits(&mut text[0..4], date.year().unsigned_abs());
    write_digits(&mut text[5..7], u8::from(date.month()).into());
    write_digits(&mut text[8..10], date.day().into());
    write_digits(&mut text[11..13], clock.hour().into());
    write_digits(&mut text[14..16], clock.minute().into());
    write_digits(&mut text[17..19], clock.second().into());
    write_digits(&mut text[20..26], clock.microsecond());
    std::str::from_utf8(text).expect("all of it is ASCII")
}

/// The last digits of `number`, with leading zeros.
fn write_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
    }
}

fn decimal(mut number: u64, text: &mut [u8; 20]) -> &str {
    let mut begin = text.len();
    loop {
        begin -= 1;
        text[begin] = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&text[begin..]).expect("digits are ASCII");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope<'static> {
        Envelope {
            id: Uuid::from_u128(0x0198_1111_2222_7333_8444_5555_6666_7777),
            source: "plumbline/app-service",
            kind: "plumbline.order.placed",
            schema_version: 1,
            aggregate_type: "order",
            aggregate_id: Uuid::from_u128(0x0198_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0000),
            aggregate_version: 1,
            actor: "main:alice",
            time: OffsetDateTime::from_unix_timestamp_nanos(1_767_225_600_123_456_000).unwrap(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        }
    }

    fn headers(envelope: &Envelope<'_>) -> Vec<(String, Vec<u8>)> {
        let mut written = Vec::new();
        envelope.write_headers(&mut Scratch::default(), |name, value| {
            written.push((name.to_owned(), value.as_bytes().to_vec()));
        });
        written
    }

    fn parse(headers: &[(String, Vec<u8>)]) -> Result<Envelope<'_>, Malformed> {
        Envelope::parse(
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), Some(value.as_slice()))),
        )
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = headers(&sample());
        assert_eq!(parse(&written).unwrap(), sample());
    }

    #[test]
    fn the_headers_are_these_bytes_for_ever() {
        let text: Vec<String> = headers(&sample())
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(text.join("\n") + "\n", include_str!("../golden/headers.txt"));
    }

    #[test]
    fn a_header_that_is_missing_or_wrong_is_named() {
        for (header, value, problem) in [
            ("ce_specversion", Some("0.3"), "is not 1.0"),
            ("ce_id", None, "is missing"),
            ("ce_id", Some("7"), "holds no UUID"),
            ("ce_type", None, "is missing"),
            ("ce_subject", Some("order"), "is not <aggregate type>/<uuid>"),
            ("ce_subject", Some("order/7"), "holds no UUID"),
            ("ce_time", Some("yesterday"), "is not an RFC 3339 time"),
            (
                "ce_dataschema",
                Some("urn:plumbline:schema:plumbline.order.paid:1"),
                "is not the schema of this ce_type",
            ),
            ("ce_aggregateversion", Some("0"), "is not a number from 1"),
            ("ce_actor", None, "is missing"),
        ] {
            let mut headers = headers(&sample());
            headers.retain(|(name, _)| name != header);
            if let Some(value) = value {
                headers.push((header.into(), value.as_bytes().to_vec()));
            }
            assert_eq!(parse(&headers), Err(Malformed { header, problem }));
        }
    }

    #[test]
    fn unknown_headers_are_ignored_and_the_first_of_a_repeated_one_counts() {
        let mut headers = headers(&sample());
        headers.push(("ce_id".into(), b"garbage".to_vec()));
        headers.push(("x-new".into(), b"1".to_vec()));
        assert_eq!(parse(&headers).unwrap(), sample());
    }
}
