"""The gateway as a program of its own, between a client at its socket and a provider on loopback."""
