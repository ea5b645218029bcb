//! Log lines as JSON objects.
//!
//! tracing-subscriber's own JSON format knows no trace ids, and prints every field of every span; these lines have the trace, and of the
//! spans only what ties lines together.

use std::fmt;

use opentelemetry::trace::TraceContextExt as _;
use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Serializer;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::observe::RequestId;
use crate::run::Service;

const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// One object per line: `timestamp level target message service.name service.version trace_id span_id`, the event's own fields, and the
/// spans' [`Correlation`] fields.
pub(crate) struct JsonLines {
    service: Service,
}

impl JsonLines {
    pub(crate) fn of(service: Service) -> JsonLines {
        JsonLines { service }
    }

    fn line(&self, event: &Event<'_>) -> Result<Vec<u8>, serde_json::Error> {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Vec::with_capacity(512);
        let mut serializer = Serializer::new(&mut line);
        let mut map = serde::Serializer::serialize_map(&mut serializer, None)?;
        let now = OffsetDateTime::now_utc().format(TIMESTAMP).unwrap_or_default();
        map.serialize_entry("timestamp", &now)?;
        map.serialize_entry("level", event.metadata().level().as_str())?;
        let target = fields.log_target.as_deref().unwrap_or(event.metadata().target());
        map.serialize_entry("target", target)?;
        map.serialize_entry("message", &fields.message)?;
        map.serialize_entry("service.name", self.service.name)?;
        map.serialize_entry("service.version", self.service.version)?;
        // The OpenTelemetry layer makes the entered span's context the current one.
        let context = opentelemetry::Context::current();
        let span = context.span();
        if span.span_context().is_valid() {
            map.serialize_entry("trace_id", &span.span_context().trace_id().to_string())?;
            map.serialize_entry("span_id", &span.span_context().span_id().to_string())?;
        }
        // Of a request that has no span.
        if let Some(request_id) = context.get::<RequestId>() {
            map.serialize_entry("request_id", &request_id.to_string())?;
        }
        for (name, value) in &fields.others {
            map.serialize_entry(name, value)?;
        }
        map.end()?;
        Ok(line)
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = self.line(event).map_err(|_| fmt::Error)?;
        let line = str::from_utf8(&line).map_err(|_| fmt::Error)?;
        let open = line.strip_suffix('}').ok_or(fmt::Error)?;
        writer.write_str(open)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields.as_str())?;
            }
        }
        writer.write_str("}\n")
    }
}

/// The spans' fields that each line within them repeats: `request_id` and `event_id`. Each is kept as `,"name":"value"`.
pub(crate) struct Correlation;

impl<'writer> FormatFields<'writer> for Correlation {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut correlating = Correlating {
            writer: &mut writer,
            written: Ok(()),
        };
        fields.record(&mut correlating);
        correlating.written
    }
}

/// Writes what ties lines together, and looks at nothing else: every request makes a span.
struct Correlating<'a, 'writer> {
    writer: &'a mut Writer<'writer>,
    written: fmt::Result,
}

impl Visit for Correlating<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "request_id" | "event_id") {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "request_id" | "event_id") && self.written.is_ok() {
            let value = serde_json::Value::from(value);
            self.written = write!(self.writer, ",\"{}\":{value}", field.name());
        }
    }
}

/// What a line or a span recorded.
#[derive(Default)]
struct Fields {
    message: String,
    /// Of records that libraries write with the `log` crate; their tracing target is always `log`.
    log_target: Option<String>,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.record_str(field, &format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "log.target" => self.log_target = Some(value.to_owned()),
            "log.module_path" | "log.file" => {}
            _ => self.keep(field, value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != "log.line" {
            self.keep(field, value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value);
    }
}
