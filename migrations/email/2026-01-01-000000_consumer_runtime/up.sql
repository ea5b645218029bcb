-- The tables of the consumer runtime; crates/consumer/README.md says what they promise.

-- The first offset of each partition whose effects are not in this database.
CREATE TABLE position (
    topic       text   NOT NULL,
    partition   int    NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);
GRANT SELECT, INSERT, UPDATE ON position TO email_runtime;

-- Records that can never be applied, whole.
CREATE TABLE dead_letter (
    topic         text        NOT NULL,
    partition     int         NOT NULL CHECK (partition >= 0),
    "offset"      bigint      NOT NULL CHECK ("offset" >= 0),
    key           bytea,
    header_names  text[]      NOT NULL,
    header_values bytea[]     NOT NULL,
    payload       bytea,
    error         text        NOT NULL,
    parked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, "offset"),
    CHECK (cardinality(header_names) = cardinality(header_values))
);
GRANT SELECT, INSERT ON dead_letter TO email_runtime;
