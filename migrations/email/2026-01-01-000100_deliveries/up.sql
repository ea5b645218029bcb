-- Whom to write to. Personal data: it stays in this database and out of the logs.
CREATE TABLE customer (
    id      uuid   PRIMARY KEY,
    email   text   NOT NULL CHECK (email <> ''),
    name    text   NOT NULL,
    version bigint NOT NULL CHECK (version >= 1)
);
GRANT SELECT, INSERT, UPDATE ON customer TO email_runtime;

-- One row per mail that an event asks for, whatever becomes of it.
--
-- pending       waits for its recipient to be known, or for next_attempt_at
-- claimed       a sender has it until lease_until; nothing was sent, so it can go back to pending
-- transmitting  the message may have reached the server; when the lease ends without an answer, nobody knows
-- sent          the server accepted it
-- failed        it was not accepted and will not be tried again
-- ambiguous     nobody knows whether it was accepted; never sent again
CREATE TABLE email_delivery (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id        uuid        NOT NULL,
    template        text        NOT NULL CHECK (template IN ('welcome', 'order_confirmation')),
    -- What the template needs besides the customer.
    params          jsonb       NOT NULL,
    customer_id     uuid        NOT NULL,
    -- Both null until the customer is known, then kept as they were.
    recipient       text,
    recipient_name  text,
    -- UUIDv5 of event and template: the Message-ID, the same for every attempt.
    message_id      uuid        NOT NULL UNIQUE,
    traceparent     text,
    state           text        NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'claimed', 'transmitting', 'sent', 'failed', 'ambiguous')),
    -- Raised by each claim; whoever holds an older one may write nothing more.
    epoch           bigint      NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    attempts        int         NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until     timestamptz,
    -- Of the last attempt that failed.
    error           text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    UNIQUE (event_id, template),
    CHECK ((recipient IS NULL) = (recipient_name IS NULL)),
    CHECK ((lease_until IS NOT NULL) = (state IN ('claimed', 'transmitting'))),
    CHECK ((finished_at IS NOT NULL) = (state IN ('sent', 'failed', 'ambiguous'))),
    CHECK (recipient IS NOT NULL OR state IN ('pending', 'failed'))
);
GRANT SELECT, INSERT, UPDATE ON email_delivery TO email_runtime;

-- What can be sent, what may have been abandoned, and what waits for its customer. Each is small however many mails were ever sent.
CREATE INDEX email_delivery_due ON email_delivery (next_attempt_at)
    WHERE state = 'pending' AND recipient IS NOT NULL;
CREATE INDEX email_delivery_leased ON email_delivery (lease_until)
    WHERE lease_until IS NOT NULL;
CREATE INDEX email_delivery_waiting ON email_delivery (customer_id)
    WHERE state = 'pending' AND recipient IS NULL;
