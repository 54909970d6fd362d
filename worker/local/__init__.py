"""PostgreSQL and Valkey from wheels, for a checkout that has no servers of its own."""
