"""Keeping things clean: what is removed when, and how."""
