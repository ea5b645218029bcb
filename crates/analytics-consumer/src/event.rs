use consumer::{Decode, Raw, Undecodable};
use events::{DecodeError, Event};
use uuid::Uuid;

/// An event and the version of the aggregate that it states.
#[derive(Clone, Debug)]
pub struct Fact {
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub version: i64,
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
            aggregate_type: envelope.aggregate_type.to_owned(),
            aggregate_id: envelope.aggregate_id,
            version: envelope.aggregate_version,
            event,
        })
    }
}
