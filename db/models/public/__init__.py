"""The application's own tables, by area."""
