DROP TABLE outbox_cursor;
DROP TABLE outbox;
