diesel::table! {
    customer (id) {
        id -> Uuid,
        email -> Text,
        name -> Text,
        version -> Int8,
    }
}

diesel::table! {
    email_delivery (id) {
        id -> Int8,
        event_id -> Uuid,
        template -> Text,
        params -> Jsonb,
        customer_id -> Uuid,
        recipient -> Nullable<Text>,
        recipient_name -> Nullable<Text>,
        message_id -> Uuid,
        traceparent -> Nullable<Text>,
        state -> Text,
        epoch -> Int8,
        attempts -> Int4,
        next_attempt_at -> Timestamptz,
        lease_until -> Nullable<Timestamptz>,
        error -> Nullable<Text>,
        finished_at -> Nullable<Timestamptz>,
    }
}
