# Every verb of the repository; the logic lives in scripts/.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
NEED_RUN := .venv/.run-done
NEED_DEV := .venv/.dev-done
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Programs start twice as fast from bytecode; some machines forbid writing it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help dev dist docs demo up check fix test test-all test-changed test-one faults bench bench-console pictures protos clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

dev: $(NEED_DEV) ## set up .venv with everything

$(NEED_RUN): pyproject.toml | $(BIN)/python
	@echo "== installing what a farm needs into .venv (once, some 20 s)"
	@$(PIP) --editable '.[controller,postgres,agent,gateway,simulator,cli]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make dev PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv

$(NEED_DEV): pyproject.toml | $(BIN)/python
	@echo "== installing what the tests and checks need into .venv (once, some 40 s)"
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --editable '.[all]' --group dev --group docs --group protos
	@touch $(NEED_RUN) $@

dist: dev ## the wheel of this checkout, in dist/, to install on hosts (docs/install.md)
	@$(BIN)/python -m hatchling build --target wheel --directory dist

docs: dev ## the documentation as a site, in build/docs
	@$(BIN)/python scripts/build_docs.py

demo: $(NEED_RUN) ## three simulated phones, one job each, callbacks and proof
	@$(BIN)/phonefarm demo

up: $(NEED_RUN) ## run the whole farm in this terminal until Ctrl-C
	@$(BIN)/phonefarm up --simulate 3

check: dev ## format, lint, types, import rules, generated files
	@$(BIN)/python scripts/check.py

fix: dev ## repair what can be repaired by a tool
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

PYTEST := $(BIN)/pytest
BY_FILE := --dist loadgroup --no-loadscope-reorder
BESIDE := -n 3 $(BY_FILE)
test: dev ## the tests, about ten minutes on two cores
	@$(PYTEST) -m 'not long' $(BESIDE)

test-all: dev ## every test with every example, as CI runs them
	@EXAMPLES=all $(PYTEST) -n 5 $(BY_FILE) --durations=25 # long tests mostly wait

test-changed: dev ## the tests that what is not committed can have broken: SINCE=COMMIT
	@$(BIN)/python scripts/changed_tests.py $(if $(SINCE),--since $(SINCE)) $(BESIDE)

test-one: dev ## one file or test, at once: T=tests/cli/test_cli_secrets.py
	@$(PYTEST) $(or $(T),$(error say which: make test-one T=tests/cli/test_cli_secrets.py))

SEED ?=
ENGINE ?= postgres
CONTAINERS ?=
faults: dev ## break a real farm under load: SECONDS=300 SEED=1 ENGINE=postgres|sqlite CONTAINERS=1
	@PYTHONPATH=tests $(BIN)/python -m faults --engine $(ENGINE) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(CONTAINERS),--containers)

bench: dev ## figures of this machine, as one JSON table
	@$(PIP) --group bench
	@$(BIN)/python scripts/bench.py

bench-console: dev ## the console's figures on this machine, beside those to accept
	@$(BIN)/python scripts/bench_console.py

pictures: dev ## the pictures of the pages, of the console and a terminal, on simulated phones
	@$(BIN)/python scripts/console_pictures.py
	@$(BIN)/python scripts/terminal_pictures.py

protos: dev ## generate protos/gen anew, and the pages of states and monitoring
	@$(BIN)/python scripts/gen_protos.py
	@$(BIN)/python scripts/gen_states.py
	@$(BIN)/python scripts/gen_monitoring.py
	@$(BIN)/python scripts/gen_capability_inputs.py
	@$(BIN)/python scripts/gen_console_types.py

clean: ## remove what make made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
