CREATE INDEX CONCURRENTLY product_active ON product (id) WHERE status = 'active';
