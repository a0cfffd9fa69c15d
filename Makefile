# `make run` and `make test` do everything on a fresh machine with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: run test lint types bench bench-report clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[train,dev]'
	touch $(STAMP)

run: $(STAMP)  ## the playground (or Discord, with a token), the trainer and the bot
	@exec $(BIN)/pupil run

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)  ## every benchmark, one after the other (long)
	$(BIN)/python -m tests.benchmarks all

bench-report: $(STAMP)
	$(BIN)/python -m tests.benchmarks report

bench-%: $(STAMP)
	$(BIN)/python -m tests.benchmarks $*

clean:
	rm -rf .venv build
