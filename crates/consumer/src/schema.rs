//! The runtime's own tables; the README has their SQL.

diesel::table! {
    position (topic, partition) {
        topic -> Text,
        partition -> Int4,
        next_offset -> Int8,
    }
}

diesel::table! {
    dead_letter (topic, partition, offset) {
        topic -> Text,
        partition -> Int4,
        offset -> Int8,
        key -> Nullable<Bytea>,
        header_names -> Array<Text>,
        header_values -> Array<Nullable<Bytea>>,
        payload -> Nullable<Bytea>,
        error -> Text,
    }
}
