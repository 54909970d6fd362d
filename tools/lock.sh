#!/bin/sh
# Writes the locks anew from pyproject.toml: run.lock for `make run`, dev.lock (a superset at the same versions) for
# tests and checks, bench.lock (a superset of that) for `make bench`.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"; }
compile --extra local --extra s3 --extra e2b --group build --group dev --output-file requirements/dev.lock
compile --extra local --group build --constraint requirements/dev.lock --output-file requirements/run.lock
compile --extra local --extra s3 --extra e2b --group build --group dev --group bench --constraint requirements/dev.lock --output-file requirements/bench.lock
