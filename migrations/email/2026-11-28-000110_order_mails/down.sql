ALTER TABLE email_delivery
    ADD CONSTRAINT email_delivery_template_check CHECK (template IN ('welcome', 'order_confirmation')) NOT VALID,
    DROP CONSTRAINT email_delivery_template;
