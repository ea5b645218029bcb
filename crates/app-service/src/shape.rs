//! JSON schemas of the values in bodies and parameters, for the API's description. Limits are the domain's.

use domain::{Currency, MAX_QUANTITY, Money};
use serde_json::{Value, json};
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{
    KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};

/// Schemas that many others refer to, by name.
pub(crate) fn named() -> [(&'static str, Schema); 2] {
    [
        ("Id", uuid().into()),
        ("Currency", one_of(Currency::codes()).into()),
    ]
}

pub(crate) fn id() -> Ref {
    Ref::from_schema_name("Id")
}

/// ISO 4217.
pub(crate) fn currency() -> Ref {
    Ref::from_schema_name("Currency")
}

/// A UUID as the API writes it; another form of it is another text.
fn uuid() -> Object {
    text()
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .pattern(Some(
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ))
        .build()
}

pub(crate) fn sku() -> Object {
    text().pattern(Some("^[A-Za-z0-9._-]{1,40}$")).build()
}

pub(crate) fn product_name() -> Object {
    line(200)
}

pub(crate) fn person_name() -> Object {
    line(100)
}

pub(crate) fn description() -> Object {
    text()
        .max_length(Some(5_000))
        .pattern(Some(r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$"))
        .build()
}

pub(crate) fn price_minor() -> Object {
    number(0, Money::MAX_MINOR)
}

/// How many of one product are wanted.
pub(crate) fn wanted() -> Object {
    number(1, MAX_QUANTITY)
}

/// How many there are at first.
pub(crate) fn first_quantity() -> Object {
    number(0, MAX_QUANTITY)
}

/// How many there are. What comes back from a cancelled order may lead beyond the limit of adjustments; this one is the table's.
pub(crate) fn in_stock() -> Object {
    number(0, (1 << 53) - 1)
}

/// Any difference but none.
pub(crate) fn delta() -> Schema {
    OneOfBuilder::new()
        .item(number(1, i64::MAX))
        .item(number(i64::MIN, -1))
        .into()
}

pub(crate) fn version() -> Object {
    number(1, i64::MAX)
}

pub(crate) fn product_status() -> Object {
    let mut status = one_of(["draft", "active", "discontinued"]);
    status.examples = vec![json!("active")];
    status
}

pub(crate) fn first_status() -> Object {
    one_of(["draft", "active"])
}

pub(crate) fn availability() -> Object {
    one_of(["in_stock", "sold_out"])
}

pub(crate) fn order_status() -> Object {
    one_of(["placed", "paid", "shipped", "cancelled"])
}

pub(crate) fn reason() -> Object {
    let values = [json!("customer"), json!("expired"), Value::Null];
    or_null().enum_values(Some(values)).build()
}

pub(crate) fn email() -> Object {
    text().max_length(Some(254)).build()
}

pub(crate) fn moment() -> Object {
    text().format(Some(date_time())).build()
}

pub(crate) fn moment_or_null() -> Object {
    or_null().format(Some(date_time())).build()
}

pub(crate) fn limit() -> Object {
    let mut limit = number(1, 100);
    limit.default = Some(json!(20));
    limit.examples = vec![json!(20)];
    limit
}

/// In the header's form, quotes included.
pub(crate) fn etag() -> Object {
    text().build()
}

/// A right, as tokens name it.
pub(crate) fn scope() -> Object {
    text().build()
}

/// Opaque: what `next` of another page was.
pub(crate) fn cursor() -> Object {
    text()
        .examples([json!("AVvgsfANPHqeAZjFt1wAfS-aTA4rb40cOg")])
        .build()
}

pub(crate) fn cursor_or_null() -> Object {
    or_null().build()
}

/// One line without control characters. White space at its ends is dropped and not counted, so that only the pattern can say how long
/// the rest may be.
fn line(longest: usize) -> Object {
    let space = r"[\u0009-\u000d \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
    let seen = r"[^\u0000- \u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
    let inside = r"[^\u0000-\u001f\u007f-\u009f]";
    text()
        .description(Some(format!(
            "1 to {longest} characters, without white space at the ends"
        )))
        .pattern(Some(format!(
            "^{space}*{seen}({inside}{{0,{}}}{seen})?{space}*$",
            longest - 2
        )))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn or_null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]))
}

fn date_time() -> SchemaFormat {
    SchemaFormat::KnownFormat(KnownFormat::DateTime)
}

fn number(from: i64, to: i64) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(from))
        .maximum(Some(to))
        .build()
}

fn one_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Object {
    text().enum_values(Some(values)).build()
}
