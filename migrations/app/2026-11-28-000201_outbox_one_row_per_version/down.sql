DROP INDEX CONCURRENTLY outbox_version_unique;
