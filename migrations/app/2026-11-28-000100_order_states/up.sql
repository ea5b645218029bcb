-- Orders are shipped, and expire: an expired one is cancelled, with that reason, and was never paid.
--
-- One short transaction: the new rules hold for what is written from now on. The next migration checks what was there
-- before, under a lock that lets everybody go on. The new state is written only by replicas that know it; the others read
-- the columns that they name.
ALTER TABLE orders
    ADD COLUMN shipped_at timestamptz,
    -- Each state has its times, and no others.
    ADD CONSTRAINT orders_states CHECK (
        CASE status
            WHEN 'placed'    THEN paid_at IS NULL AND shipped_at IS NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'paid'      THEN paid_at IS NOT NULL AND shipped_at IS NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'shipped'   THEN paid_at IS NOT NULL AND shipped_at IS NOT NULL AND cancelled_at IS NULL
                                  AND reason IS NULL
            WHEN 'cancelled' THEN shipped_at IS NULL AND cancelled_at IS NOT NULL
                                  AND coalesce(reason = 'customer' OR reason = 'expired' AND paid_at IS NULL, false)
            ELSE false
        END
    ) NOT VALID,
    -- They rise: the domain takes no step before the one before it.
    ADD CONSTRAINT orders_times CHECK (
        coalesce(paid_at >= placed_at, true) AND coalesce(shipped_at >= paid_at, true)
        AND coalesce(cancelled_at >= coalesce(paid_at, placed_at), true)
    ) NOT VALID,
    DROP CONSTRAINT orders_state;

GRANT UPDATE (shipped_at) ON orders TO app_runtime;
