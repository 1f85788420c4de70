# Every verb of the repository; the logic lives in scripts/.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
NEED_DEV := .venv/.dev-done

.PHONY: help dev demo up check fix test test-long faults bench protos clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

dev: $(NEED_DEV) ## set up .venv with everything

$(NEED_DEV): pyproject.toml
	@echo "== setting up .venv (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make dev PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev --group protos
	@touch $@

demo: dev ## three simulated phones, one job each, callbacks and proof
	@$(BIN)/phonefarm demo

up: dev ## run the whole farm in this terminal until Ctrl-C
	@$(BIN)/phonefarm up --simulate 3

check: dev ## format, lint, types, import rules, generated files
	@$(BIN)/python scripts/check.py

fix: dev ## repair what can be repaired by a tool
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

test: dev ## the tests, about fifteen minutes on two cores
	@$(BIN)/pytest -m 'not long' -n 2 --dist loadgroup --no-loadscope-reorder

test-long: dev ## the group that runs in real time
	@$(BIN)/pytest -m long -n 2 --dist loadgroup --no-loadscope-reorder

SEED ?=
ENGINE ?= postgres
CONTAINERS ?=
faults: dev ## break a real farm under load: SECONDS=300 SEED=1 ENGINE=postgres|sqlite CONTAINERS=1
	@PYTHONPATH=tests $(BIN)/python -m faults --engine $(ENGINE) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(CONTAINERS),--containers)

bench: dev ## figures of this machine, as one JSON table
	@$(BIN)/python scripts/bench.py

protos: dev ## generate protos/gen anew and the states page
	@$(BIN)/python scripts/gen_protos.py
	@$(BIN)/python scripts/gen_states.py

clean: ## remove what make made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
