# `make run`  : everything needed for a first result, from nothing but Python 3.11 or newer
# `make test` : the same for the tests.     `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export GRIDRL_VENV ?= .venv
BIN := $(GRIDRL_VENV)/bin
# `make run STUDY=mine.toml`, or `make run CASE="case118 grid.m"` for the outages of some grids
STUDY ?= examples/evening_peak.toml
CASE ?=
PYTEST ?= $(BIN)/python -m pytest
# `make test ARGS="tests/powerflow -k islands"`
ARGS ?=

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: install
install: ## make .venv and install gridrl with its development tools
	@tools/install.sh dev

.PHONY: run
run: ## a what-if study of a congested grid: tables here, a report in results/
	@tools/install.sh
	@mkdir -p results
	@for source in $(or $(CASE),$(STUDY)); do \
		name=$$(basename "$${source%.*}"); \
		$(BIN)/gridrl whatif run "$$source" --top 15 --store results/studies.sqlite \
			--report "results/$$name.html"; \
	done
	@echo
	@echo "Open the report in a browser; it is one file. Its studies: $(BIN)/gridrl whatif list --store results/studies.sqlite"
	@echo "Next: edit $(STUDY), or make run CASE=case118, or make run CASE=path/to/your/grid.m"

.PHONY: test
test: install ## tests, without the slow ones
	@$(PYTEST) $(ARGS)

.PHONY: test-all
test-all: install ## tests, with the slow ones
	@$(PYTEST) -m "" $(ARGS)

# Compiled code reads past the end of an array without a word; here it raises. `gridrl.jit` keeps
# these kernels in a cache of their own.
.PHONY: test-boundscheck
test-boundscheck: install ## the kernels' tests with array bounds checked
	@NUMBA_BOUNDSCHECK=1 $(PYTEST) tests/sparse tests/powerflow tests/security tests/opf tests/env $(ARGS)

.PHONY: format
format: install ## rewrite the files in house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lint
lint: install ## style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

.PHONY: types
types: install ## mypy --strict
	@$(BIN)/mypy

.PHONY: contracts
contracts: install ## which module may import which
	@$(BIN)/lint-imports --no-logo

.PHONY: docs
docs: install ## documentation with its notebooks run, into docs/_build/html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

.PHONY: check
check: lint types contracts docs ## everything CI runs besides the tests

.PHONY: bench
bench: install ## the benchmarks; figures land in benchmarks/results/
	@tools/install.sh dev,peers
	@$(BIN)/gridrl bench powerflow
	@$(BIN)/gridrl bench powerflow --render

.PHONY: clean
clean: ## remove .venv, results and every cache
	@if [ -f $(GRIDRL_VENV)/pyvenv.cfg ]; then rm -rf $(GRIDRL_VENV); fi
	@rm -rf results docs/_build build dist *.egg-info
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
