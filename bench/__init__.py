"""Measurements: each prints what it found beside what it is compared with, as a ratio from one run."""
