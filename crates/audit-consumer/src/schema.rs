diesel::table! {
    audit_event (topic, partition, offset) {
        topic -> Text,
        partition -> Int4,
        offset -> Int8,
        produced_at -> Nullable<Timestamptz>,
        key -> Nullable<Bytea>,
        header_names -> Array<Text>,
        header_values -> Array<Nullable<Bytea>>,
        payload -> Nullable<Bytea>,
        event_id -> Nullable<Uuid>,
        kind -> Nullable<Text>,
        aggregate_type -> Nullable<Text>,
        aggregate_id -> Nullable<Uuid>,
        aggregate_version -> Nullable<Int8>,
        actor -> Nullable<Text>,
        occurred_at -> Nullable<Timestamptz>,
        trace_id -> Nullable<Text>,
        problem -> Nullable<Text>,
    }
}

diesel::table! {
    audit_read (id) {
        id -> Int8,
        principal -> Text,
        query -> Text,
    }
}
