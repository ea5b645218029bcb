DROP INDEX CONCURRENTLY product_status_id;
