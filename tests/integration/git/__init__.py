"""git against a real server: what a run reads, takes out of its sandbox and pushes."""
