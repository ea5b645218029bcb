ALTER TABLE orders
    ADD CONSTRAINT orders_state CHECK (
        CASE status
            WHEN 'placed'    THEN paid_at IS NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'paid'      THEN paid_at IS NOT NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'cancelled' THEN cancelled_at IS NOT NULL AND reason IS NOT NULL AND reason IN ('customer')
            ELSE false
        END
    ) NOT VALID,
    DROP CONSTRAINT orders_times,
    DROP CONSTRAINT orders_states,
    DROP COLUMN shipped_at;
