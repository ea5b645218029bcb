-- One row per committed version of an aggregate. CONCURRENTLY, so that no insert waits for it; it
-- has to be the only statement here, outside of a transaction (metadata.toml). One that was
-- interrupted leaves an invalid index of this name, which must be dropped before the next attempt.
CREATE UNIQUE INDEX CONCURRENTLY outbox_version_unique
    ON outbox (aggregate_id, aggregate_version, aggregate_type);
