# `make run` and `make test` do everything on a fresh machine with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help run test faults lint types bench bench-report clean

help:  ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

$(STAMP): pyproject.toml
	@echo 'Setting up .venv; the first time this takes some minutes.' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet -e '.[train,dev]'
	@touch $(STAMP)

run: $(STAMP)  ## the playground (or Discord, with a token), the trainer and the bot
	@exec $(BIN)/pupil run

test: $(STAMP)  ## every test, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

faults: $(STAMP)  ## every fault 100 times, real trainings 3 times (hours); FAULT_ROUNDS=5 is quicker
	$(BIN)/python -m tests.faults

lint: $(STAMP)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy
	$(BIN)/mypy

bench: $(STAMP)  ## every benchmark, one after the other (long)
	$(BIN)/python -m tests.benchmarks all

bench-report: $(STAMP)  ## print what was measured so far
	$(BIN)/python -m tests.benchmarks report

bench-%: $(STAMP)  ## one benchmark: make bench-loop, -learning, -gate, -asking, -suspects, -chat, -serving, -quantization, -swap, -teaching, -teams, -storage
	$(BIN)/python -m tests.benchmarks $*

clean:  ## remove .venv and build
	rm -rf .venv build
