# Everything a developer runs. Each target does its own set-up: a virtual environment in .venv, the build of the compiled
# core, Cassandra's jars; what is up to date is not done again. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
HOST ?=
SECONDS ?= 600
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# With these in the environment pip and Make share one build of the core (pip's own build environments do not last).
BUILD := 'setuptools>=68' 'cython>=3.0.11'
CORE := $(wildcard geventcql/cython/*.pyx geventcql/cython/*.pxi geventcql/cython/*.pxd)
NEEDS := PYTHON="$(PYTHON)" .ci/needs

# Imports are compiled once, not anew in each of the many processes that tests and benchmarks start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env jars demo test patched slow soak fuzz mutants lint bench docs build clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || grep '##' Makefile
	@echo
	@echo "  PYTHON=python3.12   the interpreter that the environment is made from (3.10 or later)"
	@echo "  ARGS='...'          further arguments for the program that the target runs"

$(VENV)/.created:
	@$(NEEDS) python
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --upgrade pip $(BUILD)
	@touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	@$(NEEDS) compiler
	$(PIP) --no-build-isolation -e '.[test,lint]'
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(CORE)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

$(VENV)/.bench: $(VENV)/.built
	$(PIP) --no-build-isolation -e '.[bench]'
	@touch $@

env: $(VENV)/.built ## set up the environment and build the compiled core

jars: $(VENV)/.built ## fetch Cassandra's jars (66 MB, once)
	@$(NEEDS) server
	@$(BIN)/python -c 'from geventcql.testing import cassandra_jars; cassandra_jars()'

demo: $(VENV)/.built $(if $(HOST),,jars) ## load 336,776 flights into a real Cassandra and ask about them (HOST=address[:port]: into that one)
	$(BIN)/python docs/examples/flights.py $(if $(HOST),--host $(HOST)) $(ARGS)

test: jars ## all tests but the slow ones, on real nodes that the run starts and stops
	.ci/halves $(BIN)/python $(ARGS)

patched: jars ## the same in a process that gevent has monkey-patched before anything else
	$(BIN)/python -m gevent.monkey --module pytest -m 'not slow' $(ARGS)

slow: jars ## the slow tests
	$(BIN)/python -m pytest -m slow $(ARGS)

soak: jars ## every kind of statement under every fault, for ten minutes (SECONDS=60: for one, as in `make slow`)
	GEVENTCQL_SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest -s tests/integration/test_soak.py $(ARGS)

fuzz: $(VENV)/.built ## fuzz the compiled core in a sanitizer build of its own, for SECONDS (600)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

mutants: $(VENV)/.built ## put bugs into copies of the driver, and see whether the tests find each of them
	$(BIN)/python -m tests.mutation $(ARGS)

lint: $(VENV)/.built ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: jars $(VENV)/.bench ## measure geventcql and its peers
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.built ## build the book as HTML, in docs/_build
	$(PIP) --no-build-isolation -e '.[docs]'
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build

build: $(VENV)/.built ## a source distribution, and a wheel built from it, in dist/
	$(BIN)/python -m build -q --outdir dist

clean: ## remove all that these targets made in this directory
	rm -rf $(VENV) build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	rm -f geventcql/cython/*.c geventcql/cython/*.so geventcql/cython/*.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
