-- Every record as Kafka held it, and what could be read from it. Rows are only ever added.
CREATE TABLE audit_event (
    topic             text        NOT NULL,
    partition         int         NOT NULL CHECK (partition >= 0),
    "offset"          bigint      NOT NULL CHECK ("offset" >= 0),
    -- As Kafka dates it; null if the record has no time.
    produced_at       timestamptz,
    stored_at         timestamptz NOT NULL DEFAULT clock_timestamp(),

    key               bytea,
    header_names      text[]      NOT NULL,
    header_values     bytea[]     NOT NULL,
    payload           bytea,

    -- Read from the headers: all null when they are no envelope, and then `problem` says why.
    event_id          uuid,
    kind              text,
    aggregate_type    text,
    aggregate_id      uuid,
    aggregate_version bigint      CHECK (aggregate_version >= 1),
    actor             text,
    occurred_at       timestamptz,
    trace_id          text        CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    problem           text,

    PRIMARY KEY (topic, partition, "offset"),
    CHECK (cardinality(header_names) = cardinality(header_values)),
    CHECK (num_nulls(event_id, kind, aggregate_type, aggregate_id, aggregate_version, actor, occurred_at)
           = CASE WHEN problem IS NULL THEN 0 ELSE 7 END),
    CHECK (trace_id IS NULL OR problem IS NULL)
);
GRANT SELECT, INSERT ON audit_event TO audit_runtime;

CREATE INDEX audit_event_by_aggregate
    ON audit_event (aggregate_type, aggregate_id, aggregate_version, topic, partition, "offset");

-- Who read the log, and what they asked for. Written before the answer is given.
CREATE TABLE audit_read (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    principal text        NOT NULL CHECK (principal <> ''),
    query     text        NOT NULL
);
GRANT INSERT ON audit_read TO audit_runtime;

-- The runtime role has no right to change or delete. This stops the owner as well, until it drops the trigger, which leaves a trace in
-- the server's log.
CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_read
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
