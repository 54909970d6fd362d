"""Tests of the application's tables: what hangs on what, who may do what, and what the functions answer."""
