DROP VIEW units;
DROP VIEW revenue;
DROP TABLE units_bucket;
DROP TABLE revenue_bucket;
DROP TABLE order_seen;
DROP TABLE entity_version;
