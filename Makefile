# Every target installs what it needs: `make lab` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
ARGS ?=
FIRST := notebooks/00_start_here.ipynb
# In a container one is root, which JupyterLab otherwise refuses.
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# Test files run side by side; small tensors are fastest on one thread each.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q
# The plugin that runs notebooks takes two seconds to import, in every process: only where it is needed.
PLAIN := -p no:nbval
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false JUPYTER_PLATFORM_DIRS=1

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A kernel called "python3" in your home directory must not shadow this project's own.
export JUPYTER_PREFER_ENV_PATH := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help install lab test lint format types imports unit notebooks browser chromium bench \
        student embedded-lm embedded-chain smollm2 notebooks-refresh clean distclean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt .jupyterlab/overrides.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "rlbase needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name another one: make PYTHON=python3.12 lab"; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@mkdir -p .venv/share/jupyter/lab/settings
	@cp .jupyterlab/overrides.json .venv/share/jupyter/lab/settings/overrides.json
	@touch $@

install: $(STAMP) ## create .venv and install the tested versions

# The copies in student/ are the learner's own: made once, never overwritten here, and left alone by `make clean`.
# Left to itself, JupyterLab would show only the folder of the notebook it opens, and student/ could not be reached.
lab: $(STAMP) ## open JupyterLab on the first notebook; pass options with ARGS="--no-browser --port=8899"
	@[ -d student ] || $(BIN)/python -m rlbase.lab student --out student
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab $(ALLOW_ROOT) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/$(FIRST) $(ARGS) $(FIRST)

test: lint types imports unit notebooks browser ## everything: lint, types, imports, tests, notebooks, browser
	@$(BIN)/python tests/summary.py

lint: $(STAMP) ## style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## repair what `make lint` complains of, where that can be done by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## static types of the package
	$(BIN)/pyright

imports: $(STAMP) ## the import contract: imports point down only
	$(BIN)/lint-imports

unit: $(STAMP) ## unit and property tests, doctests, hygiene of the repository and the notebooks
	$(TEST_ENV) $(PYTEST) $(PLAIN) -n $(WORKERS) --dist loadscope --junitxml=.cache/tests/unit.xml \
	  -m "not browser" --doctest-modules --ignore-glob='*/conftest.py' rlbase tests $(ARGS)

notebooks: $(STAMP) ## run every notebook and compare every output with the committed one
	$(TEST_ENV) $(PYTEST) -n $(WORKERS) --dist loadscope --junitxml=.cache/tests/notebooks.xml \
	  --nbval --nbval-current-env --nbval-cell-timeout=120 notebooks $(ARGS)

browser: $(STAMP) chromium ## move the controls of real notebooks in a real Chromium
	$(TEST_ENV) $(PYTEST) $(PLAIN) --junitxml=.cache/tests/browser.xml -m browser tests $(ARGS)

# Root (a container, a CI job) installs Chromium by itself; anyone else is told how.
chromium:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null 2>&1 && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium; \
	else \
	  echo "The browser test needs Chromium or Google Chrome, and none was found on the PATH: install one with your system's package manager."; \
	  [ -z "$$CI" ]; \
	fi

bench: $(STAMP) ## time training side by side with the bare loops and print the table
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/run.py $(ARGS)

student: $(STAMP) ## write student copies of the notebooks, solutions stripped, into student
	$(BIN)/python -m rlbase.lab student --out student $(ARGS)

embedded-lm: $(STAMP) ## train the embedded language model again (a few CPU-minutes)
	$(BIN)/python -m rlbase train-reviews-lm --out assets/reviews-lm $(ARGS)

embedded-chain: $(STAMP) ## train its fine-tuned version and their reward model again (four CPU-minutes)
	$(BIN)/python -m rlbase train-reviews-chain --out assets $(ARGS)

smollm2: $(STAMP) ## download a real pretrained model once, for the last cells of some notebooks
	$(BIN)/python -m rlbase download smollm2-135m $(ARGS)

notebooks-refresh: $(STAMP) ## execute all notebooks in place, after a change that moves their outputs
	$(TEST_ENV) $(BIN)/python tests/refresh_notebooks.py $(ARGS)

clean: ## remove caches and build products, keep .venv
	rm -rf build dist .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -print0 | xargs -0 rm -rf

distclean: clean ## remove .venv too
	rm -rf .venv
