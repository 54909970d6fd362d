"""The tests: unit without I/O, integration on real servers, acceptance with real workers and agents."""
