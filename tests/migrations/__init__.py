"""Tests of the migrations, by their result."""
