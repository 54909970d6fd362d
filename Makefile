# Everything starts here: `make` prints this help. Needs python3 (3.11 or newer), make, git and a package index.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# In words that Python 2 understands as well, as it does not understand tools/bootstrap.py.
NEW_ENOUGH := import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
	"Python 3.11 or newer is needed, this is " + v + ". Name another: make PYTHON=python3.12" or 0)
BOOTSTRAP = $(PYTHON) -c '$(NEW_ENOUGH)' && $(PYTHON) tools/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run test chaos check format bench lock clean

help: ## print this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1 \t\2/' | expand -t 16
	@echo "  ARGS=… is passed on:  make run ARGS=--exit-when-done    make test ARGS='-k fence -x'"

run: .venv/run.stamp ## set everything up and watch the demo: six tasks from pending row to pushed branch
	@$(BIN)/codingit-worker up --demo $(ARGS)

test: .venv/dev.stamp ## set everything up and run all tests on real servers
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadscope $(ARGS)

chaos: .venv/dev.stamp ## 300 tasks and faults of every kind: make chaos SEED=42 TASKS=100
	@$(if $(SEED),SEED=$(SEED)) $(if $(TASKS),TASKS=$(TASKS)) $(BIN)/python -m pytest tests/chaos -s $(ARGS)

check: .venv/dev.stamp ## format, lint, types, import contracts and tests, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: .venv/dev.stamp ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/bench.stamp ## measure, and print each figure beside what it is compared with
	@$(BIN)/python -m bench $(ARGS)

lock: ## write requirements/*.lock anew from pyproject.toml (needs uv)
	tools/lock.sh

clean: ## stop the local servers and remove everything that was made here
	@if [ -x $(BIN)/codingit-worker ]; then $(BIN)/codingit-worker local stop --delete; fi
	rm -rf .venv .codingit .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@for copy in $(wildcard /var/lib/codingit-worker/binaries-*); do \
		echo "Left, since other checkouts of root's run it: $$copy"; done

.venv/run.stamp: requirements/run.lock pyproject.toml
	@$(BOOTSTRAP) run

.venv/dev.stamp: requirements/dev.lock pyproject.toml
	@$(BOOTSTRAP) dev
	@touch .venv/run.stamp

.venv/bench.stamp: requirements/bench.lock pyproject.toml
	@$(BOOTSTRAP) bench
	@touch .venv/run.stamp .venv/dev.stamp
