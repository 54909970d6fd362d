"""Tests of what a run stands on, against a real database."""
