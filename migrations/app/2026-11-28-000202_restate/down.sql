REVOKE UPDATE (version) ON customer FROM app_runtime;
