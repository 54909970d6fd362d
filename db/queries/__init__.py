"""Functions on a connection or a session, one module a subject."""
