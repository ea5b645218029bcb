-- The storefront. The domain's rules come first; what SQL can state is stated here again, so that
-- no code path, and no hand at a prompt, leaves a row that the code can't read.
--
-- Money is integer minor units up to 2^53 - 1, the largest integer that every JSON reader keeps.

CREATE TABLE product (
    id           uuid   PRIMARY KEY,
    sku          text   NOT NULL CONSTRAINT product_sku_unique UNIQUE
                        CHECK (sku ~ '^[A-Za-z0-9._-]{1,40}$'),
    name         text   NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    description  text   NOT NULL CHECK (char_length(description) <= 5000),
    price_minor  bigint NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
    currency     text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    status       text   NOT NULL CHECK (status IN ('draft', 'active', 'discontinued')),
    availability text   NOT NULL CHECK (availability IN ('in_stock', 'sold_out')),
    version      bigint NOT NULL CHECK (version >= 1)
);

-- The public listing.
CREATE INDEX product_active ON product (id) WHERE status = 'active';

GRANT SELECT, INSERT ON product TO app_runtime;
GRANT UPDATE (name, description, price_minor, status, availability, version) ON product TO app_runtime;

-- A row of its own: selling does not touch the product. Adjusting by hand stops at 1,000,000; goods
-- that come back from a cancelled order may lead beyond that.
CREATE TABLE stock (
    product_id uuid   PRIMARY KEY REFERENCES product,
    quantity   bigint NOT NULL CHECK (quantity BETWEEN 0 AND 9007199254740991),
    version    bigint NOT NULL CHECK (version >= 1)
) WITH (fillfactor = 50); -- updated by each sale: room for the next version on the same page

GRANT SELECT, INSERT ON stock TO app_runtime;
GRANT UPDATE (quantity, version) ON stock TO app_runtime;

CREATE TABLE customer (
    id        uuid   PRIMARY KEY,
    -- `<source>:<id>`
    principal text   NOT NULL CONSTRAINT customer_principal_unique UNIQUE
                     CHECK (principal ~ '^[a-z][a-z0-9-]{0,15}:[!-~]{1,200}$'),
    email     text   NOT NULL CHECK (octet_length(email) <= 254 AND email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    name      text   NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    version   bigint NOT NULL CHECK (version >= 1)
);

GRANT SELECT, INSERT ON customer TO app_runtime;

CREATE TABLE orders (
    id           uuid        PRIMARY KEY,
    customer_id  uuid        NOT NULL REFERENCES customer,
    status       text        NOT NULL,
    currency     text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_minor  bigint      NOT NULL CHECK (total_minor BETWEEN 0 AND 9007199254740991),
    placed_at    timestamptz NOT NULL,
    paid_at      timestamptz,
    cancelled_at timestamptz,
    reason       text,
    version      bigint      NOT NULL CHECK (version >= 1),
    -- Each state has its times, and no others. (Their order is not stated: clocks of two replicas differ.)
    CONSTRAINT orders_state CHECK (
        CASE status
            WHEN 'placed'    THEN paid_at IS NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'paid'      THEN paid_at IS NOT NULL AND cancelled_at IS NULL AND reason IS NULL
            WHEN 'cancelled' THEN cancelled_at IS NOT NULL AND reason IS NOT NULL AND reason IN ('customer')
            ELSE false
        END
    )
);

CREATE INDEX orders_customer ON orders (customer_id, id);

GRANT SELECT, INSERT ON orders TO app_runtime;
GRANT UPDATE (status, paid_at, cancelled_at, reason, version) ON orders TO app_runtime;

-- The price is the product's when the order was placed; lines never change.
CREATE TABLE order_line (
    order_id         uuid   REFERENCES orders,
    product_id       uuid   REFERENCES product,
    quantity         bigint NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor BETWEEN 0 AND 9007199254740991),
    PRIMARY KEY (order_id, product_id)
);

GRANT SELECT, INSERT ON order_line TO app_runtime;
