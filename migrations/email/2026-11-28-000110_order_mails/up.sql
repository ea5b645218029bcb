-- Mails about an order's end. The wider rule takes the narrower one's place in one short transaction; existing rows, which
-- the narrower one has checked, are looked at by the next migration, under a lock that lets everybody go on.
ALTER TABLE email_delivery
    ADD CONSTRAINT email_delivery_template
        CHECK (template IN ('welcome', 'order_confirmation', 'order_shipped', 'order_cancelled')) NOT VALID,
    DROP CONSTRAINT email_delivery_template_check;
