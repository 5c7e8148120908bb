# Two commands for a new user: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
REPO ?= .
BIN := .venv/bin
UV ?= uv
QUICK := tests/unit tests/portable tests/contract/test_embedded_log.py tests/attacks/test_poison_events.py

.PHONY: screenshots help demo quick test lint bench docs lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/runtime.stamp: requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("archon needs Python 3.11 or newer; set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	$(BIN)/pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/runtime.stamp
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

.venv/tools.stamp: requirements/apt-test.txt .venv/dev.stamp
	tests/install-tools
	@touch $@

demo: .venv/runtime.stamp ## ingest a repository (REPO=path, default this one) and show what came out
	@$(BIN)/archon-agent demo $(REPO)

lint: .venv/dev.stamp ## ruff, mypy strict and the import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports

quick: lint ## lint, then the tests that need no server: what to run while you work
	$(BIN)/python -m tests.run -q -n 2 -m "not slow" $(QUICK)

test: lint .venv/tools.stamp ## everything that must pass: lint, then the tests with coverage and its gates
	$(BIN)/python -m tests.run

bench: .venv/dev.stamp ## benchmarks; results go to docs/performance/
	$(BIN)/python -m bench

docs: .venv/runtime.stamp ## regenerate the documents that come from code
	$(BIN)/python -m tests.generate_docs

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock"

screenshots: .venv/dev.stamp ## drive the dashboard and draw every screen again
	$(BIN)/python -m tests.tui.screenshots

lock: ## resolve the dependencies again and write requirements/*.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) --group pyproject.toml:build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) requirements/ministack.in -o requirements/ministack.txt

clean: ## remove the virtual environment and caches
	rm -rf .venv build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
