use consumer::{Decode, Raw, Undecodable};
use events::{DecodeError, Event};
use uuid::Uuid;

/// An event and what its mail has to remember of it.
#[derive(Clone, Debug)]
pub struct Fact {
    pub id: Uuid,
    pub traceparent: Option<String>,
    pub event: Event,
}

impl Decode for Fact {
    fn decode(raw: &Raw) -> Result<Fact, Undecodable> {
        let malformed = |reason: String| Undecodable::Malformed(reason);
        let envelope = raw.envelope().map_err(|error| malformed(error.to_string()))?;
        let payload = raw
            .payload
            .as_deref()
            .ok_or_else(|| malformed("the record has no payload".to_owned()))?;
        let event =
            events::decode(envelope.kind, envelope.schema_version, payload).map_err(|error| match error {
                DecodeError::Newer { .. } => Undecodable::Newer(error.to_string()),
                DecodeError::Malformed(_) => malformed(error.to_string()),
            })?;
        Ok(Fact {
            id: envelope.id,
            traceparent: envelope.traceparent.map(str::to_owned),
            event,
        })
    }
}
