-- What may expire, the longest unpaid first: as small as the number of unpaid orders, however many there ever were.
CREATE INDEX CONCURRENTLY orders_unpaid ON orders (placed_at, id) WHERE status = 'placed';
