# Every target works as the first command on a fresh Debian 12 machine: it installs what is missing, then runs.
# `make` alone lists the targets. Settings: PYTHON (the interpreter of the virtual environment), VENV (where it is),
# PYTEST_ARGS and BENCH_ARGS (more arguments for pytest and for the benchmarks).

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PACKAGING := pyproject.toml setup.py
DEMO_STAMP := $(VENV)/.installed-demo
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help site demo test test-slow test-remote test-containers check format bench bench-million bench-remote venv system system-dev system-slow system-containers clean

help: ## list the targets
	@echo "artifactfs: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  %-13s %s\n' "$$name" "$$text"; done

demo: system ## show the main job on real photographs: put, mount, read, stage, commit
	@$(MAKE) -s $(DEMO_STAMP)
	VENV="$(abspath $(VENV))" vagrant/demo.sh

# One process more than there are cores: tests often wait, for the disk and for each other.
test: system-dev ## run the tests that every change must pass (minutes)
	@$(MAKE) -s $(DEV_STAMP)
	$(PYTEST) --numprocesses $$(($$(nproc) + 1)) --dist loadgroup -m "not slow and not remote and not containers and not bench" $(PYTEST_ARGS)

test-slow: system-slow ## run the long tests: crashes, many files, installs
	@$(MAKE) -s $(DEV_STAMP)
	@$(call run_if_any,slow,slow and not remote and not containers and not bench)

test-remote: system-dev ## run the tests against object-store servers on this machine
	@$(MAKE) -s $(DEV_STAMP)
	@VENV="$(VENV)" tests/remote/object-stores.sh install
	@$(call run_if_any,remote,remote and not bench)

test-containers: system-containers ## run the tests in real containers (podman; makes an image first)
	@$(MAKE) -s $(DEV_STAMP)
	@$(call run_if_any,containers,containers and not bench)

check: system-dev ## run the linter, the formatter's check, the type checker and the layer test
	@$(MAKE) -s $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/test_layers.py

format: system-dev ## format the code and mend what the linter can mend
	@$(MAKE) -s $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: system-dev ## measure against ext4 and print the tables of docs/performance.md
	@$(MAKE) -s $(DEV_STAMP)
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-million: system-dev ## store, mount, change and delete a million files beside cp, borg, restic and DVC (half an hour)
	@$(MAKE) -s $(DEV_STAMP)
	$(BIN)/python -m tests.bench.million --peers $(BENCH_ARGS)

bench-remote: system-dev ## measure reading from a bucket through a mount, beside rclone mount and s3fs
	@$(MAKE) -s $(DEV_STAMP)
	@VENV="$(VENV)" tests/remote/object-stores.sh install
	$(BIN)/python -m tests.bench.remote --peers --count $(BENCH_ARGS)

site: system-dev ## make the documentation as a site, in build/site
	@$(MAKE) -s $(DEV_STAMP)
	$(BIN)/properdocs build --strict --clean --config-file docs/site/properdocs.yml

venv: system-dev ## make or renew the virtual environment with everything a developer needs
	@$(MAKE) -s $(DEV_STAMP)

clean: ## remove the virtual environment, caches and build results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find artifactfs cli tests -name __pycache__ -type d -prune -exec rm -rf {} +

system:
	@vagrant/provision.sh

system-dev:
	@vagrant/provision.sh --dev

system-slow:
	@vagrant/provision.sh --dev --vagrant

system-containers:
	@vagrant/provision.sh --dev --containers

# The recipes above call make again for these, so that the system packages are there first.
$(BIN)/python:
	@echo "making the virtual environment $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): $(PACKAGING) | $(BIN)/python
	@echo "installing artifactfs and what the demo needs into $(VENV)"
	PIP_USE_PEP517=1 $(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(DEV_STAMP): $(PACKAGING) | $(BIN)/python
	@echo "installing artifactfs and what tests and linters need into $(VENV)"
	PIP_USE_PEP517=1 $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(DEMO_STAMP)

# $(call run_if_any,WORD,SELECTION): run the tests of a kind. None at all (pytest then exits with 5) is said, not an error.
run_if_any = \
	$(PYTEST) -m "$(2)" --collect-only -qq >/dev/null 2>&1 || status=$$?; \
	if [ "$${status:-0}" -eq 5 ]; then echo "no $(1) tests yet"; else $(PYTEST) -m "$(2)" $(PYTEST_ARGS); fi
