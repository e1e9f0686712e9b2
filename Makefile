PYTHON ?= python3
BIN := .venv/bin
# Two processes with one thread each are faster on two cores than one process with two threads. Idle processes take over
# tests from busy ones, since a few tests are much slower than the others.
PYTEST_ARGS ?= -n 2 --dist worksteal

# The command that installs packages. On Linux without a GPU, uv can select the CPU build of PyTorch:
#   make quickstart INSTALLER="uv pip install --torch-backend=cpu"
INSTALLER ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help install setup quickstart test lint docs format clean

help: ## Show the available targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: .venv/.installed ## Create .venv and install the dependencies of the recipes, at the versions of constraints.txt

setup: .venv/.developing ## Add the dependencies of tests, linters and all extras

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALLER) --constraint constraints.txt --editable ".[hybrids,plots,train]"
	@touch $@

.venv/.developing: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALLER) --constraint constraints.txt --editable ".[dev]"
	@touch $@ .venv/.installed

quickstart: ## Install, classify a recording, generate small corpora, prepare them, train a small model
	@$(PYTHON) recipes/quickstart.py

test: setup ## Run all tests, also on real recordings if HF_SER_CORPORA is set to their folder
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

faults: setup ## Break files and programs on purpose, in all trials (hours)
	OMP_NUM_THREADS=1 HF_SER_FAULTS=all $(BIN)/python -m pytest tests/faults $(PYTEST_ARGS)
	$(BIN)/python tests/faults/campaign.py

lint: setup ## Check style, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup ## Build the documentation site in build/site
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: setup ## Format the code and fix lint errors automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the data and runs of the quickstart
	rm -rf data/quickstart runs/quickstart
