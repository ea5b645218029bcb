-- Listings of one status, by id. It serves the public one, too, so the partial index goes with the next migration.
CREATE INDEX CONCURRENTLY product_status_id ON product (status, id);
