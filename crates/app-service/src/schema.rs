//! The tables of `migrations/app`, as Diesel knows them.

diesel::table! {
    product (id) {
        id -> Uuid,
        sku -> Text,
        name -> Text,
        description -> Text,
        price_minor -> BigInt,
        currency -> Text,
        status -> Text,
        availability -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    stock (product_id) {
        product_id -> Uuid,
        quantity -> BigInt,
        version -> BigInt,
    }
}

diesel::table! {
    customer (id) {
        id -> Uuid,
        principal -> Text,
        email -> Text,
        name -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    orders (id) {
        id -> Uuid,
        customer_id -> Uuid,
        status -> Text,
        currency -> Text,
        total_minor -> BigInt,
        placed_at -> Timestamptz,
        paid_at -> Nullable<Timestamptz>,
        shipped_at -> Nullable<Timestamptz>,
        cancelled_at -> Nullable<Timestamptz>,
        reason -> Nullable<Text>,
        version -> BigInt,
    }
}

diesel::table! {
    order_line (order_id, product_id) {
        order_id -> Uuid,
        product_id -> Uuid,
        quantity -> BigInt,
        unit_price_minor -> BigInt,
    }
}

diesel::table! {
    idempotency_key (principal, key) {
        principal -> Text,
        key -> Text,
        fingerprint -> Binary,
        status -> Nullable<SmallInt>,
        location -> Nullable<Text>,
        etag -> Nullable<Text>,
        body -> Nullable<Binary>,
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(customer, orders);
diesel::joinable!(stock -> product (product_id));
diesel::allow_tables_to_appear_in_same_query!(product, stock);
