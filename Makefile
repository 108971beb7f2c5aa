# demo   everything from nothing, then the main job end to end        up     the whole house in this terminal
# test   every test, the real broker and databases included           down   stop it
# check  format, lint, types, import rules, fast tests                bench  ratios against named baselines
.PHONY: demo test check bench up down
.DEFAULT_GOAL := demo

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin
DATA ?= .rfr
# What decides about people: tested to the last branch.
CORE := rfr_stream/errors.py,rfr_stream/faces.py,rfr_stream/events/*,rfr_stream/policy/*,rfr_stream/review.py,rfr_stream/stages/*
# One thread a model: OpenMP's spinning ruins small machines, and processes scale better.
export OMP_NUM_THREADS ?= 1

demo: $(READY)
	@deploy/prerequisites.sh broker
	@$(RUN)/rfr demo $(ARGS)

test: $(READY)
	@deploy/prerequisites.sh broker database browser
	@$(RUN)/pytest $(ARGS)

check: $(READY)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	@deploy/prerequisites.sh database
	$(RUN)/pytest tests/unit tests/stages tests/contract --cov --cov-report=
	$(RUN)/coverage report --include='$(CORE)' --fail-under=100

bench: $(READY)
	@deploy/prerequisites.sh broker database
	@for bench in benches/[a-z]*.py; do echo "== $$bench"; $(RUN)/python $$bench || exit 1; done

up: $(READY)
	@deploy/prerequisites.sh broker
	@$(RUN)/rfr --data-dir $(DATA) up $(ARGS)

down:
	@$(RUN)/rfr --data-dir $(DATA) down

# uv is the one package that pip itself installs; it is pinned and hashed in the lock like every other.
$(READY): requirements.lock pyproject.toml deploy/prerequisites.sh
	@deploy/prerequisites.sh python $(PYTHON)
	@echo "Setting up $(VENV) (about 6 GB: PyTorch brings its CUDA libraries)"
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@VIRTUAL_ENV=$(VENV) $(RUN)/uv pip sync --require-hashes requirements.lock
	@VIRTUAL_ENV=$(VENV) $(RUN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
