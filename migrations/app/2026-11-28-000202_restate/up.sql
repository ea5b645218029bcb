-- Restating a customer raises its version, as it does for the other aggregates.
GRANT UPDATE (version) ON customer TO app_runtime;
