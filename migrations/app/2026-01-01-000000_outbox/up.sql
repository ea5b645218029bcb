-- Facts that committed transactions state, until the relay has published them.
--
-- Insert-only: there is no status column, so that no reader walks over dead rows. `xid` comes
-- before `id` because defaults are evaluated in column order and the relay relies on a
-- transaction having its xid before it draws an id. CACHE 1 keeps ids rising in the order in
-- which they are drawn.
CREATE TABLE outbox (
    xid               xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id                bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    event_id          uuid        NOT NULL,
    topic             text        NOT NULL CHECK (octet_length(topic) BETWEEN 1 AND 249),
    key               bytea       NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 255),
    type              text        NOT NULL,
    schema_version    smallint    NOT NULL CHECK (schema_version >= 1),
    aggregate_type    text        NOT NULL,
    aggregate_id      uuid        NOT NULL,
    aggregate_version bigint      NOT NULL CHECK (aggregate_version >= 1),
    actor             text        NOT NULL,
    occurred_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    traceparent       text,
    -- Well below the broker's limit for a record (1 MiB), so that the relay never holds one
    -- that Kafka refuses.
    payload           bytea       NOT NULL CHECK (octet_length(payload) <= 262144)
);

CREATE INDEX outbox_xid_id ON outbox (xid, id);

GRANT SELECT ON outbox TO app_runtime;
GRANT INSERT (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, aggregate_version,
              actor, traceparent, payload) ON outbox TO app_runtime;
GRANT SELECT ON SEQUENCE outbox_id_seq TO app_runtime;

-- How far each sink has come. A page is everything visible in s2 that was not visible in s1,
-- by id; `last` is the last id delivered of it. h and h2 are the sequence's values from just
-- before s1 and s2 were taken. Written only by the owner of the current epoch.
CREATE TABLE outbox_cursor (
    sink  text        PRIMARY KEY,
    epoch bigint      NOT NULL DEFAULT 0,
    s1    pg_snapshot NOT NULL DEFAULT '1:1:',
    h     bigint      NOT NULL DEFAULT 0,
    s2    pg_snapshot,
    h2    bigint      NOT NULL DEFAULT 0,
    last  bigint      NOT NULL DEFAULT 0
);

INSERT INTO outbox_cursor (sink) VALUES ('kafka');

GRANT SELECT, UPDATE ON outbox_cursor TO app_runtime;
