# leakwarden: every way to run, check and measure it. `make` alone explains itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
COMPILE = $(VENV)/bin/uv pip compile --universal --python-version 3.10 --generate-hashes \
          --custom-compile-command "make lock" --quiet $(UPGRADE)

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What stands in .venv is remembered in stamps, so that a second make asks no network.
$(VENV)/runtime.stamp: .ci/requirements.lock .ci/venv pyproject.toml
	@.ci/venv $(VENV) .ci/requirements.lock
	@$(PYTHON_IN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp .ci/requirements-dev.lock
	@.ci/venv $(VENV) .ci/requirements-dev.lock
	@touch $@

.PHONY: run
run: $(VENV)/runtime.stamp ## Install what is missing and start the service on loopback, with sample agents
	@exec $(VENV)/bin/leakwarden serve $(ARGS)

.PHONY: test
test: $(VENV)/dev.stamp test-packages lint ## Install what is missing and run every check and test (about 3 minutes)
	@$(PYTHON_IN) -m pytest $(ARGS)

.PHONY: test-packages
test-packages:
	@.ci/system-packages curl git prometheus strace

.PHONY: lint
lint: $(VENV)/dev.stamp ## Check style and types alone (seconds)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

.PHONY: format
format: $(VENV)/dev.stamp ## Format the code and mend what ruff can mend
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

.PHONY: bench
bench: $(VENV)/dev.stamp ## Measure against the goals; tables go to benchmarks/results (about 10 minutes)
	@mkdir -p benchmarks/results
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(PYTHON_IN) "$$file"; done

.PHONY: torture
torture: $(VENV)/dev.stamp ## Kill the service 100 times under load and look for lost or doubled messages
	@$(PYTHON_IN) tests/torture/sigkill.py --rounds 100 $(ARGS)

.PHONY: docs
docs: $(VENV)/dev.stamp ## Write the generated reference pages anew
	@$(PYTHON_IN) docs/generate.py

.PHONY: build
build: $(VENV)/dev.stamp ## Build the wheel and the source archive into dist
	@$(PYTHON_IN) -m build --no-isolation

.PHONY: lock
lock: $(VENV)/dev.stamp ## Resolve the locks anew from pyproject.toml (UPGRADE=--upgrade takes newer versions)
	@$(PYTHON_IN) -m pip install --quiet uv
	@$(COMPILE) pyproject.toml --extra all --group dev --output-file .ci/requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra all --group build --constraints .ci/requirements-dev.lock --output-file .ci/requirements.lock
	@$(COMPILE) --group test --constraints .ci/requirements-dev.lock --output-file .ci/requirements-test.lock

.PHONY: clean
clean: ## Remove everything that make made
	@rm -rf $(VENV) .cache .hypothesis .pytest_cache .mypy_cache .ruff_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
