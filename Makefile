# All but `referee` and `test-offline` runs in .venv, which `install` makes; no target needs anything else to be set up.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: install demo test lint bench study referee test-offline accept clean help

BIN := .venv/bin
STAMP := .venv/.installed
REFEREE := .venv-referee
REFEREE_STAMP := $(REFEREE)/.installed
OFFLINE := .venv-offline
OFFLINE_STAMP := $(OFFLINE)/.installed

define find_python
for python in python3.11 python3 ""; do
	[ -n "$$python" ] || { echo "GAELP needs Python 3.11; none was found. Install it and run make again." >&2; exit 1; }
	! "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || break
done
endef

$(STAMP): pyproject.toml constraints.txt
	@$(find_python)
	echo "Installing into .venv (once, about a minute)" >&2
	[ -x $(BIN)/python ] || "$$python" -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

# ChannelAttribution is under the GPL: never a dependency. It forgets to declare that it needs matplotlib.
$(REFEREE_STAMP): pyproject.toml constraints.txt
	@$(find_python)
	echo "Installing into $(REFEREE) (once, some minutes)" >&2
	[ -x $(REFEREE)/bin/python ] || "$$python" -m venv $(REFEREE)
	$(REFEREE)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . \
		pytest pytest-timeout ChannelAttribution==2.2.5 pandas matplotlib || {
		echo "The referee, ChannelAttribution, could not be installed: it needs a network for pip, and a wheel or a C++ compiler. Nothing was compared." >&2
		exit 1
	}
	touch $@

# d3rlpy pins gymnasium 1.0.0, which constraints.txt does not allow; it needs no other package of ours.
$(OFFLINE_STAMP): pyproject.toml
	@$(find_python)
	echo "Installing into $(OFFLINE) (once, some minutes)" >&2
	[ -x $(OFFLINE)/bin/python ] || "$$python" -m venv $(OFFLINE)
	$(OFFLINE)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 d3rlpy==2.8.1 \
		numpy==2.4.6 numba==0.68.1 scipy==1.17.1 typer rich pyarrow pytest pytest-timeout
	$(OFFLINE)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

install: $(STAMP) ## Make .venv with everything in it
	@:

demo: install ## Train a policy, fly it against the baselines, write runs/demo/report.html
	@$(BIN)/gaelp demo

lint: install ## Style, types and layers
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## Lint, then examples, doctests and all tests
	@$(BIN)/pytest -n 2 --dist loadgroup --doctest-modules src tests

bench: install ## Time the public calls at real sizes
	@$(BIN)/gaelp bench market
	$(BIN)/python benchmarks/auction.py
	$(BIN)/python benchmarks/auction_gym.py

study: install ## The long experiments
	@$(BIN)/pytest -n 2 --dist loadgroup -m study tests

referee: $(REFEREE_STAMP) ## Compare attribution with ChannelAttribution, in an environment of its own
	@$(REFEREE)/bin/python -c "import ChannelAttribution" >/dev/null || {
		echo "The referee, ChannelAttribution, is installed but cannot be imported, see above. Nothing was compared." >&2
		exit 1
	}
	$(REFEREE)/bin/pytest -q tests/referee

test-offline: $(OFFLINE_STAMP) ## d3rlpy's CQL on our logs, in an environment of its own
	@$(OFFLINE)/bin/pytest -q tests/offline

accept: install ## Run the must-show lines of one step: make accept STEP=1
	@$(BIN)/python docs/acceptance/run.py "$${STEP:?which step? make accept STEP=1}"

clean: ## Remove the environment, caches and builds; runs/ stays
	@rm -rf .venv $(REFEREE) $(OFFLINE) build dist src/*.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples docs \( -name __pycache__ -o -name __kernels__ \) -prune -exec rm -rf {} + 2>/dev/null || true

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
