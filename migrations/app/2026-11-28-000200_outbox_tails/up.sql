-- Several tails with an owner each, and what an operator needs when the database was restored.
--
-- The lease is on the cursor's row: every write of the owner is `WHERE epoch = …`, and taking the
-- lease raises the epoch. `saves` counts what was saved; whoever remembers a higher number than
-- the row holds knows that the database went back in time. `store` identifies what the sink
-- writes to, where that can forget (a cache).
ALTER TABLE outbox_cursor
    ADD COLUMN owner       text CHECK (octet_length(owner) BETWEEN 1 AND 200),
    ADD COLUMN lease_until timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN saves       bigint      NOT NULL DEFAULT 0,
    ADD COLUMN store       text CHECK (octet_length(store) <= 4096);

INSERT INTO outbox_cursor (sink) VALUES ('cache');

-- Positions from which a sink can be fed again: everything that was not visible in s1 comes after
-- it. Taken at most once a minute, and removed when the rows behind it are.
CREATE TABLE outbox_rewind_point (
    sink     text        NOT NULL REFERENCES outbox_cursor,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    s1       pg_snapshot NOT NULL,
    h        bigint      NOT NULL,
    PRIMARY KEY (sink, taken_at)
);

GRANT SELECT, INSERT, DELETE ON outbox_rewind_point TO app_runtime;

-- The server and history that the cursors belong to. Versions of restated aggregates begin at
-- generation × 2^40, so that none that a lost future used is used again; 8191 keeps them below 2^53.
CREATE TABLE outbox_generation (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation        bigint  NOT NULL DEFAULT 0 CHECK (generation BETWEEN 0 AND 8191),
    system_identifier bigint  NOT NULL,
    timeline          bigint  NOT NULL
);

INSERT INTO outbox_generation (system_identifier, timeline)
SELECT system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
FROM pg_control_system();

GRANT SELECT ON outbox_generation TO app_runtime;
GRANT UPDATE (generation, system_identifier, timeline) ON outbox_generation TO app_runtime;

-- Where the deleter's last chunk ended: it does not walk again over the dead rows that it left.
CREATE TABLE outbox_retention (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    swept_to bigint  NOT NULL DEFAULT 0
);

INSERT INTO outbox_retention DEFAULT VALUES;

GRANT SELECT ON outbox_retention TO app_runtime;

-- Deletes at most `chunk` rows that are older than `older_than` and that every sink's saved s1 has
-- seen, and says how many those were. The serving role may do this and no other deletion.
--
-- The visibility is tested by the DELETE itself, never by id: a row with a low id may have been
-- committed a moment ago. Two at once don't wait for each other, and nobody's insert waits.
CREATE FUNCTION outbox_delete_published(older_than interval, chunk integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    swept   bigint;
    deleted bigint;
    stays   bigint;
    seen    bigint;
BEGIN
    IF chunk NOT BETWEEN 1 AND 5000 THEN
        RAISE EXCEPTION 'chunk is %, not between 1 and 5000', chunk;
    END IF;
    SELECT swept_to INTO swept FROM public.outbox_retention FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    WITH candidate AS MATERIALIZED (
        SELECT id, occurred_at < clock_timestamp() - older_than AS old
        FROM public.outbox WHERE id > swept ORDER BY id LIMIT chunk
    ), gone AS (
        DELETE FROM public.outbox AS fact USING candidate
        WHERE fact.id = candidate.id AND candidate.old
          AND NOT EXISTS (SELECT FROM public.outbox_cursor AS cursor
                          WHERE NOT pg_visible_in_snapshot(fact.xid, cursor.s1))
        RETURNING fact.id
    )
    SELECT count(gone.id), min(candidate.id) FILTER (WHERE gone.id IS NULL), max(candidate.id)
    INTO deleted, stays, seen
    FROM candidate LEFT JOIN gone USING (id);
    UPDATE public.outbox_retention SET swept_to = coalesce(stays - 1, seen, swept)
    WHERE swept_to IS DISTINCT FROM coalesce(stays - 1, seen, swept);
    RETURN deleted;
END
$$;

REVOKE EXECUTE ON FUNCTION outbox_delete_published FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox_delete_published TO app_runtime;
