-- The last version seen of every aggregate, whatever its type. What the ledger compares with the database of record.
CREATE TABLE entity_version (
    aggregate_type text   NOT NULL,
    aggregate_id   uuid   NOT NULL,
    version        bigint NOT NULL CHECK (version >= 1),
    PRIMARY KEY (aggregate_type, aggregate_id)
);
GRANT SELECT, INSERT, UPDATE ON entity_version TO analytics_runtime;

-- The last state seen of every order, as what it contributes to the buckets below. A new state adds the difference to this one.
-- contribution: {"revenue": [{"bucket_start", "currency", "minor"}], "units": [{"bucket_start", "product_id", "units"}]}
CREATE TABLE order_seen (
    order_id     uuid   PRIMARY KEY,
    version      bigint NOT NULL CHECK (version >= 1),
    contribution jsonb  NOT NULL CHECK (jsonb_typeof(contribution) = 'object')
);
GRANT SELECT, INSERT, UPDATE ON order_seen TO analytics_runtime;

-- Buckets of 15 minutes of event time. Keyed with the Kafka partition too: one writer per row, so nothing waits for a hot row; the
-- views sum them. A cancelled order counts in the bucket of its payment and is reversed in the bucket of its cancellation, so a sum can
-- be negative.
CREATE TABLE revenue_bucket (
    bucket_start  timestamptz NOT NULL CHECK (extract(epoch FROM bucket_start) % 900 = 0),
    currency      text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    partition     int         NOT NULL CHECK (partition >= 0),
    revenue_minor bigint      NOT NULL,
    PRIMARY KEY (bucket_start, currency, partition)
);
GRANT SELECT, INSERT, UPDATE ON revenue_bucket TO analytics_runtime;

CREATE TABLE units_bucket (
    bucket_start timestamptz NOT NULL CHECK (extract(epoch FROM bucket_start) % 900 = 0),
    product_id   uuid        NOT NULL,
    partition    int         NOT NULL CHECK (partition >= 0),
    units        bigint      NOT NULL,
    PRIMARY KEY (bucket_start, product_id, partition)
);
GRANT SELECT, INSERT, UPDATE ON units_bucket TO analytics_runtime;

-- A sum of zero is no row: whether one was written and reversed, or never written, depends on the order of arrival.
CREATE VIEW revenue AS
    SELECT bucket_start, currency, sum(revenue_minor)::bigint AS revenue_minor
    FROM revenue_bucket
    GROUP BY bucket_start, currency
    HAVING sum(revenue_minor) <> 0;
GRANT SELECT ON revenue TO analytics_runtime;

CREATE VIEW units AS
    SELECT bucket_start, product_id, sum(units)::bigint AS units
    FROM units_bucket
    GROUP BY bucket_start, product_id
    HAVING sum(units) <> 0;
GRANT SELECT ON units TO analytics_runtime;
