PYTHON ?= python3
BIN := .venv/bin
# Two tests at a time, one thread each: faster on two cores than one test with two threads. Who is done takes over from
# who is not, since a few tests are much slower than the others.
PYTEST_ARGS ?= -n 2 --dist worksteal

# What installs packages. On Linux without a GPU, uv can choose the build of PyTorch without GPU libraries:
#   make quickstart INSTALLER="uv pip install --torch-backend=cpu"
INSTALLER ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help install setup quickstart test lint docs format clean

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: .venv/.installed ## Create .venv and install what the recipes need, at the versions of constraints.txt

setup: .venv/.developing ## Add what tests, linters and every extra need

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALLER) --constraint constraints.txt --editable ".[hybrids,plots,train]"
	@touch $@

.venv/.developing: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALLER) --constraint constraints.txt --editable ".[dev]"
	@touch $@ .venv/.installed

quickstart: ## Install, generate small corpora, prepare them, train a tiny wav2vec2, classify one recording
	@$(PYTHON) recipes/quickstart.py

test: setup ## Run every test (real recordings too where HF_SER_CORPORA names them)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup ## Build the documentation as a site in build/site
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: setup ## Format the code and fix what can be fixed automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove generated data and runs of the quickstart
	rm -rf data/quickstart runs/quickstart
