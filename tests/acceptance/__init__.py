"""The whole system on real servers, with real workers, agents and repositories."""
