DROP TABLE audit_read;
DROP TABLE audit_event;
DROP FUNCTION refuse_change();
