DROP FUNCTION outbox_delete_published;
DROP TABLE outbox_retention;
DROP TABLE outbox_generation;
DROP TABLE outbox_rewind_point;
DELETE FROM outbox_cursor WHERE sink = 'cache';
ALTER TABLE outbox_cursor DROP COLUMN owner, DROP COLUMN lease_until, DROP COLUMN saves, DROP COLUMN store;
