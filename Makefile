# Everything runs in one virtual environment, made on first use. On a new machine only python3 with pip is needed.
#   make demo            a chest CT in, a segmentation out, a page that shows it
#   make pathology       an experiment on slides, from cohort to report, at stand-in size; RECIPE_ARGS="--seed 1"
#   make radiology       the same on chest CT
#   make test            the whole test suite
#   make lint            ruff, mypy, import-linter
#   make docs            the documentation as a site, in build/site
#   make bench           speed and memory beside other packages, with charts, in $(BENCH_OUT); goes on after a kill;
#                        BENCH_ARGS="--quick" checks every row on small data, "--rows 'ct-*'" measures some
# PIP_ARGS reaches every pip call (an index of CPU builds of torch, for example); the other ARGS theirs.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?= -n 2
DEMO_ARGS ?=
RECIPE_ARGS ?=
BENCH_ARGS ?= --growth --resume
BENCH_OUT ?= benchmarks/out

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)
# torch comes first and alone, so that no later resolution replaces it
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
METADATA := pyproject.toml constraints.txt

.PHONY: demo pathology radiology test lint lint-format lint-style lint-types lint-layers format bench docs clean

demo: $(VENV)/.all
	$(BIN)/dicom-ml demo $(DEMO_ARGS)

pathology radiology: $(VENV)/.all
	$(BIN)/dicom-ml recipe run $@ --size stand-in --output out/$@ $(RECIPE_ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: lint-format lint-style lint-types lint-layers

lint-format: $(VENV)/.lint
	$(BIN)/ruff format --check .

lint-style: $(VENV)/.lint
	$(BIN)/ruff check .

lint-types: $(VENV)/.lint
	$(BIN)/mypy

lint-layers: $(VENV)/.lint
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks --output $(BENCH_OUT) $(BENCH_ARGS)

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.torch: $(VENV)/.python constraints.txt
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.all: $(VENV)/.torch $(METADATA)
	$(PIP) -c constraints.txt -e ".[all]"
	touch $@

# The independent readers and validators have no build for some platforms; their tests then skip and say so.
$(VENV)/.test: $(VENV)/.all
	$(PIP) -c constraints.txt -e ".[all,test]"
	$(PIP) -c constraints.txt -e ".[all,test,judges]" \
	  || echo "WARNING: some independent judges could not be installed, their tests will be skipped" >&2
	touch $@

$(VENV)/.lint: $(VENV)/.all
	$(PIP) -c constraints.txt -e ".[all,dev]"
	touch $@

# The pages need no torch; the reference is read from the code without importing it.
$(VENV)/.docs: $(VENV)/.python $(METADATA)
	$(PIP) -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
