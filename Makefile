PYTHON ?= python3
BIN := .venv/bin
QUICK := data/quickstart
# Two tests at a time, one thread each: faster on two cores than one test with two threads. Who is done takes over from
# who is not, since a few tests are much slower than the others.
PYTEST_ARGS ?= -n 2 --dist worksteal

.PHONY: help setup quickstart test lint format clean

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: .venv/.installed ## Create .venv and install everything at the versions of constraints.txt

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

quickstart: setup ## Generate small corpora, prepare them, train a tiny wav2vec2, classify one recording
	$(BIN)/python recipes/generate.py --output_dir $(QUICK)/corpora
	$(BIN)/python recipes/prepare.py --ravdess $(QUICK)/corpora/ravdess --crema_d $(QUICK)/corpora/crema_d \
		--tess $(QUICK)/corpora/tess --savee $(QUICK)/corpora/savee --output_dir $(QUICK)/dataset --overwrite true
	$(BIN)/accelerate launch --config_file accelerate_config.yaml recipes/finetune.py \
		--config recipes/configs/quickstart.yaml --overwrite true
	$(BIN)/hf-ser predict --model runs/quickstart \
		$(QUICK)/corpora/ravdess/Actor_02/03-01-05-01-01-01-02.wav

test: setup ## Run every test (real recordings too where HF_SER_CORPORA names them)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove generated data and runs of the quickstart
	rm -rf $(QUICK) runs/quickstart
