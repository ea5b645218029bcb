-- What POSTs were answered with, for whoever repeats one, for 24 hours.
--
-- The row is inserted at the beginning of the effect's transaction and gets its answer at the end of the same
-- transaction, so that a committed row has one. Bodies hold personal data, as the tables do that they speak of.
CREATE TABLE idempotency_key (
    principal   text        CHECK (principal ~ '^[a-z][a-z0-9-]{0,15}:[!-~]{1,200}$'),
    key         text        CHECK (key ~ '^[!-~]{1,64}$'),
    -- SHA-256 over method, path, query, media type and body.
    fingerprint bytea       NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- 2xx and what the domain refuses. Rights (401, 403), limits (429) and trouble (5xx) are decided anew each time.
    status      smallint    CHECK (status BETWEEN 200 AND 299 OR status BETWEEN 400 AND 499 AND status NOT IN (401, 403, 429)),
    location    text        CHECK (octet_length(location) BETWEEN 1 AND 256),
    etag        text        CHECK (octet_length(etag) BETWEEN 3 AND 64),
    body        bytea       CHECK (octet_length(body) <= 65536),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key),
    -- An answer has a status and a body, and nothing has parts of one.
    CONSTRAINT idempotency_key_state CHECK (
        CASE WHEN status IS NULL
            THEN body IS NULL AND location IS NULL AND etag IS NULL
            ELSE body IS NOT NULL
        END
    )
) WITH (fillfactor = 60); -- each row is updated once, on the page where it is

-- For the job that deletes what is older than 24 hours.
CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);

GRANT SELECT, DELETE ON idempotency_key TO app_runtime;
GRANT INSERT (principal, key, fingerprint) ON idempotency_key TO app_runtime;
GRANT UPDATE (status, location, etag, body) ON idempotency_key TO app_runtime;
