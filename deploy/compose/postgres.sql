-- Roles and databases, run once by the image's entrypoint on an empty volume: for each process a database of its own, a role that
-- owns its tables and migrates them, and one that runs with what their grants say. `\connect` is psql's.

-- Without this, every role may connect to every database.
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;

CREATE ROLE app_owner LOGIN PASSWORD 'app_owner';
CREATE ROLE app_runtime LOGIN PASSWORD 'app_runtime';
CREATE DATABASE app OWNER app_owner;
REVOKE ALL ON DATABASE app FROM PUBLIC;
GRANT CONNECT ON DATABASE app TO app_runtime;
\connect app
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app_runtime;

CREATE ROLE analytics_owner LOGIN PASSWORD 'analytics_owner';
CREATE ROLE analytics_runtime LOGIN PASSWORD 'analytics_runtime';
CREATE DATABASE analytics OWNER analytics_owner;
REVOKE ALL ON DATABASE analytics FROM PUBLIC;
GRANT CONNECT ON DATABASE analytics TO analytics_runtime;
\connect analytics
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO analytics_runtime;

CREATE ROLE email_owner LOGIN PASSWORD 'email_owner';
CREATE ROLE email_runtime LOGIN PASSWORD 'email_runtime';
CREATE DATABASE email OWNER email_owner;
REVOKE ALL ON DATABASE email FROM PUBLIC;
GRANT CONNECT ON DATABASE email TO email_runtime;
\connect email
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO email_runtime;

CREATE ROLE audit_owner LOGIN PASSWORD 'audit_owner';
CREATE ROLE audit_runtime LOGIN PASSWORD 'audit_runtime';
CREATE DATABASE audit OWNER audit_owner;
REVOKE ALL ON DATABASE audit FROM PUBLIC;
GRANT CONNECT ON DATABASE audit TO audit_runtime;
\connect audit
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO audit_runtime;
