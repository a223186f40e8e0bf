# Every command that a developer, or someone trying TradeWise on one machine, needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
ARGS ?=
# Processes that share the tests, a file at a time: each has a database server of its own. `make test WORKERS=0` uses none.
WORKERS ?= auto

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
# The lock files hold names, versions and hashes only; where to fetch from is the business of this machine's pip.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --only-binary :all: --no-warn-script-location
LOCKED := $(PIP) --require-hashes
# Of all that pip says, what shows how far it is. Faults come on standard error, past this.
PROGRESS := sed -unE 's/^Collecting ([^ ]+).*/    \1/p; s/^Installing collected packages.*/    unpacking them/p' >&2
say = @printf '\033[1m==> %s\033[0m\n' $(1) >&2

# An environment that was moved, or whose interpreter was removed or upgraded, is made anew rather than half used.
$(shell if [ -e $(VENV) ] && ! { [ "$$(cat $(STAMPS)/venv 2>&1)" = "$(CURDIR)" ] && $(BIN)/python -c ''; } 2>/dev/null; \
    then rm -rf $(VENV); fi)

.PHONY: help setup assets lint format test test-freqtrade freqtrade bench demo up build lock engine clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

demo: $(STAMPS)/runtime assets ## Start everything on this machine with a small story in it (ARGS="--port 8000")
	@$(BIN)/tradewise demo $(ARGS)

up: $(STAMPS)/runtime assets ## Start everything on this machine, empty
	@$(BIN)/tradewise up $(ARGS)

setup: $(STAMPS)/dev assets ## Make the virtual environment with all that development needs

test: $(STAMPS)/dev assets ## Run all tests, setting up the container engine and the browser first (ARGS="-k name")
	@scripts/chromium.sh
	@$(BIN)/python -m agents.launcher.images || test -z "$${CI:-}"
	$(call say,"Running the tests")
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS) || { \
	    printf '\033[1m==> What failed beside other tests, once more and alone: that counts\033[0m\n' >&2; \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); }

test-freqtrade: $(STAMPS)/dev assets freqtrade ## Host the published freqtrade, and watch one, on a small exchange (slow; about 15 minutes)
	$(call say,"Running the tests of hosted freqtrade")
	@$(BIN)/python -m pytest -m freqtrade tests/freqtrade $(ARGS)

freqtrade: $(STAMPS)/runtime ## Build the image of hosted freqtrade bots (TRADEWISE_FREQTRADE_BASE_IMAGE=... to start from one)
	@$(BIN)/python -m agents.launcher.freqtrade_image

bench: $(STAMPS)/bench ## Measure what security, hosting and polling cost, write docs/benchmarks.md, fail where a bound is broken (ARGS="tenancy")
	@$(BIN)/python -m tests.bench --write $(ARGS)

lint: $(STAMPS)/dev ## Check style, types, import directions, house rules and lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m lint
	$(BIN)/python scripts/lock.py --check

format: $(STAMPS)/dev ## Put the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

engine: $(STAMPS)/runtime ## Find a container engine, or install and start one of our own
	@$(BIN)/python -m agents.launcher.engine ensure

build: $(STAMPS)/dev assets ## Build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls -l dist/*.whl

lock: $(STAMPS)/venv ## Resolve requirements/*.txt anew from pyproject.toml
	@$(LOCKED) --quiet -r requirements/locking.txt
	@$(BIN)/python scripts/lock.py

clean: ## Remove what was built here; a running engine and the demo's data stay
	rm -rf $(VENV) dist build frontend/node_modules control_plane/dashboard/assets/dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@PYTHON="$(PYTHON)" scripts/venv.sh $(VENV)
	@mkdir -p $(STAMPS) && printf '%s' "$(CURDIR)" > $@

$(STAMPS)/runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(STAMPS)/venv
	$(call say,"Installing what TradeWise runs on (pinned and hash-checked; a minute or two the first time)")
	@$(LOCKED) -r requirements/runtime.txt -r requirements/build.txt | $(PROGRESS)
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/runtime
	$(call say,"Installing what development and tests need")
	@$(LOCKED) -r requirements/dev.txt | $(PROGRESS)
	@touch $@

$(STAMPS)/bench: requirements/bench.txt $(STAMPS)/dev
	$(call say,"Installing what the benchmarks compare with")
	@$(LOCKED) -r requirements/bench.txt | $(PROGRESS)
	@touch $@

# Only where the machine has no Node.js of its own that is new enough.
$(STAMPS)/node: requirements/node.txt | $(STAMPS)/venv
	$(call say,"Installing Node.js into the virtual environment for the dashboard (about 60 MB)")
	@$(LOCKED) -r requirements/node.txt | $(PROGRESS)
	@touch $@

assets: $(STAMPS)/runtime
	@$(BIN)/python scripts/assets.py --node || $(MAKE) $(STAMPS)/node
	@$(BIN)/python scripts/assets.py
