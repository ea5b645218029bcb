diesel::table! {
    entity_version (aggregate_type, aggregate_id) {
        aggregate_type -> Text,
        aggregate_id -> Uuid,
        version -> Int8,
    }
}

diesel::table! {
    order_seen (order_id) {
        order_id -> Uuid,
        version -> Int8,
        contribution -> Jsonb,
    }
}

diesel::table! {
    revenue_bucket (bucket_start, currency, partition) {
        bucket_start -> Timestamptz,
        currency -> Text,
        partition -> Int4,
        revenue_minor -> Int8,
    }
}

diesel::table! {
    units_bucket (bucket_start, product_id, partition) {
        bucket_start -> Timestamptz,
        product_id -> Uuid,
        partition -> Int4,
        units -> Int8,
    }
}

// The views that sum the buckets over the partitions.

diesel::table! {
    revenue (bucket_start, currency) {
        bucket_start -> Timestamptz,
        currency -> Text,
        revenue_minor -> Int8,
    }
}

diesel::table! {
    units (bucket_start, product_id) {
        bucket_start -> Timestamptz,
        product_id -> Uuid,
        #[sql_name = "units"]
        pieces -> Int8,
    }
}
