# Two commands: `make demo` and `make test`. Both make .venv where it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test test-all torture lint format bench structure clean

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py charlm/engine/lstm.c charlm/engine/kernels.h charlm/ngram/ngram.c
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "charlm needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The sentences are the course's: was or were, with a clause in between. Neither stands in data/agreement.txt.
demo: $(INSTALLED)
	$(BIN)/charlm train data/agreement.txt --run demo --force --mode sentence --preset small --batch-size 8 --steps 2500
	$(BIN)/charlm sample --run demo --temp 0.8 --until-eos --num-samples 5
	$(BIN)/charlm score --run demo "The cat, which already ate a bunch of fish, was full." \
	    "The cat, which already ate a bunch of fish, were full."
	$(BIN)/charlm score --run demo "The cats, which already ate a bunch of fish, was full." \
	    "The cats, which already ate a bunch of fish, were full."

# Some minutes, with nothing else running; make bench ARGS="--quick", make bench ARGS="sample score".
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.bench $(ARGS)

# Which room imports which; make structure ARGS=stacks, make structure ARGS=size.
structure: $(INSTALLED)
	$(BIN)/python -m benchmarks.structure $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-all: $(INSTALLED)
	$(BIN)/python -m pytest -m ''

# Every promise of docs/reliability.md, tried hard: some ten minutes; make torture ARGS="kills --seed 2".
torture: $(INSTALLED)
	$(BIN)/python -m tests.torture $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
