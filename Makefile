# `make quickstart` and `make test` are all that a fresh machine needs; `make help` lists the rest.

VENV ?= .venv
OUT ?= quickstart
# The first Python on the PATH that is new enough; `make PYTHON=/path/to/python` names another.
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done),python3)
# Tests in as many processes as this; each computes with one thread (see `test`).
TEST_PROCESSES ?= 2

BIN := $(VENV)/bin
export OUT VIDEOS
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test lint types layers pytest pytest-long format clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20
	@echo '  make quickstart VIDEOS=DIR   the same over your own videos (class = subfolder)'

quickstart: $(VENV)/.installed-atari ## install, record a corpus, run every verb on it, write quickstart/report.html
	@$(BIN)/python -m data_prep.quickstart --out="$$OUT" $${VIDEOS:+--videos="$$VIDEOS"}

test: lint types layers pytest ## install, then lint, types, layers and the whole test suite

lint: $(VENV)/.installed-test ## ruff: mistakes and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test ## mypy, strict
	$(BIN)/mypy

layers: $(VENV)/.installed-test ## import-linter: imports point down only
	$(BIN)/lint-imports

# Two processes that each start two threads of torch on two cores would wait for each other.
pytest: $(VENV)/.installed-test ## the test suite alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES)

pytest-long: $(VENV)/.installed-test ## the tests that take minutes: 3,000 mutated files, an hour of video
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) -m long

format: $(VENV)/.installed-test ## format, and repair what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and build leftovers; keeps .venv and quickstart/
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find avmi data_prep tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an installation is repeated only when pyproject.toml has changed since.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "avmi needs Python 3.11 or newer, and $(PYTHON) is not: install one (Debian: apt-get install" \
			"python3 python3-venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module" \
			"(Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.installed-atari: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --editable '.[atari]'
	@touch $@

# The extras of the tests include those of the quickstart, so this does for both.
$(VENV)/.installed-test: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --editable '.[atari,test]'
	@touch $(VENV)/.installed-atari $@
