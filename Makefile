# Everything runs in a virtual environment of its own; `make PYTHON=python3.12 test` chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint check fuzz kill clean

demo: $(VENV)/.demo
	$(BIN)/videomatte demo --output demo

test: $(VENV)/.dev
	# One thread a test, as many tests as cores: threads that share a core slow each other down several times over.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

fuzz: $(VENV)/.dev
	# 500 damaged files; another SEED makes others. What fails is kept in fuzz-failures/.
	$(BIN)/python tests/fuzz.py --cases 500 --seed $(or $(SEED),1) --keep fuzz-failures

kill: $(VENV)/.dev
	# 20 runs killed at random moments and run again: the frames must be those of a run that nothing disturbed.
	OMP_NUM_THREADS=1 $(BIN)/python tests/kill.py --runs 5 --seed $(or $(SEED),1)

clean:
	rm -rf $(VENV) demo fuzz-failures build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt torch -e .
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[classic,train]" --group dev
	touch $@
