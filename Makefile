# `make run` and `make test` do everything on a fresh machine with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

RAY_STAMP := .venv-ray/.installed
# Ray listens on every address; a private network namespace keeps its ports to itself where the system permits one.
ALONE := unshare --net --map-root-user sh -c 'ip link set lo up && exec "$$@"' sh

.PHONY: help run test test-long test-ray faults lint types bench bench-report clean

help:  ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

$(STAMP): pyproject.toml
	@echo 'Setting up .venv; the first time this takes some minutes.' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet -e '.[train,dev]'
	@touch $(STAMP)

run: $(STAMP)  ## the playground (or Discord, with a token), the trainer and the bot
	@exec $(BIN)/pupil run

# Tests start hundreds of processes; without bytecode beside the sources each of them would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

test: $(STAMP)  ## the tests, three files at a time
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not long'

test-long: $(STAMP)  ## the few tests that take a minute each: 50,000 texts, 200 kills, two years, the tour in pictures
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m long

$(RAY_STAMP): pyproject.toml
	@echo 'Setting up .venv-ray, which holds Ray: 2 GB.' >&2
	@$(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip install --quiet -e '.[train,ray]' pytest pytest-asyncio
	@touch $(RAY_STAMP)

test-ray: $(RAY_STAMP)  ## the executors' contract and node losses on a real Ray cluster of this host
	@if $(ALONE) true 2>/dev/null; then set -- $(ALONE); else set --; fi; \
	"$$@" .venv-ray/bin/python -m pytest -m ray tests/contract/test_executors.py tests/integration/test_ray.py

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

bench-%: $(STAMP)  ## one benchmark: make bench-loop, -learning, -gate, -asking, -suspects, -chat, -serving, -quantization, -swap, -phases, -teaching, -teams, -storage
	$(BIN)/python -m tests.benchmarks $*

clean:  ## remove .venv, .venv-ray and build
	rm -rf .venv .venv-ray build
