CREATE TABLE note (id bigint PRIMARY KEY, text text NOT NULL);
GRANT SELECT, INSERT ON note TO app_runtime;
