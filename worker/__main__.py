"""`python -m worker` is `codingit-worker`."""

from worker.cli import main

main()
