# Every target works as the first command on a fresh Debian 12 machine: it installs what is missing, then runs.
# `make` alone lists the targets. Settings: PYTHON (the interpreter of the virtual environment), VENV (where it is),
# PYTEST_ARGS (more arguments for pytest).

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PACKAGING := pyproject.toml setup.py
DEMO_STAMP := $(VENV)/.installed-demo
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-remote check format bench venv system system-dev clean

help: ## list the targets
	@echo "artifactfs: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  %-12s %s\n' "$$name" "$$text"; done

demo: system ## show the main job on real photographs: put, mount, read, stage, commit
	@$(MAKE) --no-print-directory $(DEMO_STAMP)
	VENV="$(abspath $(VENV))" vagrant/demo.sh

test: system-dev ## run the tests that every change must pass (minutes)
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	$(PYTEST) -m "not slow and not remote and not bench" $(PYTEST_ARGS)

test-slow: system-dev ## run the long tests: crashes, many files, installs
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	@$(PYTEST) -m "slow and not remote and not bench" $(PYTEST_ARGS) || $(call none_is_fine,slow)

test-remote: system-dev ## run the tests against object-store servers on this machine
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	@$(PYTEST) -m "remote and not bench" $(PYTEST_ARGS) || $(call none_is_fine,remote)

check: system-dev ## run the linter, the formatter's check, the type checker and the layer test
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/test_layers.py

format: system-dev ## format the code and mend what the linter can mend
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: system-dev ## measure against ext4 and print the table of docs/performance.md
	@$(MAKE) --no-print-directory $(DEV_STAMP)
	$(PYTEST) -m bench --timeout=0 -s $(PYTEST_ARGS) tests/bench

venv: system-dev ## make or renew the virtual environment with everything a developer needs
	@$(MAKE) --no-print-directory $(DEV_STAMP)

clean: ## remove the virtual environment, caches and build results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find artifactfs cli tests -name __pycache__ -type d -prune -exec rm -rf {} +

system:
	@vagrant/provision.sh

system-dev:
	@vagrant/provision.sh --dev

# The recipes above call make again for these, so that the system packages are there first.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(DEV_STAMP): $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(DEMO_STAMP)

# pytest exits with 5 when no test was selected; a marker without tests is no failure.
none_is_fine = { status=$$?; [ $$status -eq 5 ] && echo "no $(1) tests yet"; }
