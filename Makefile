# make demo and make test set up what they need: a virtual environment in .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
# Of the tests: processes of one thread each, and anything else for pytest.
WORKERS ?= 2
PYTEST_ARGS ?=
# Of the benchmarks: the public corpora (CONTRIBUTING.md).
CONCEPT_ICD_DATA ?= ../shared/data

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCHMARKS := $(patsubst benchmarks/%.py,bench-%,$(shell grep -ls __main__ benchmarks/*.py))

.PHONY: help setup demo test lint format bench clean $(BENCHMARKS)

help:
	@echo "make demo     the whole pipeline, small, on synthetic notes; ends by naming a report"
	@echo "make test     the tests (WORKERS=2, PYTEST_ARGS='-k name')"
	@echo "make lint     ruff and mypy"
	@echo "make format   ruff's formatter"
	@echo "make setup    the virtual environment $(VENV) alone (PYTHON=python3.11)"
	@echo "make bench    names the targets of the benchmarks (BENCH_ARGS='--rounds 3')"
	@echo "make clean    removes $(VENV) and caches, never runs/"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "Python 3.11 or newer is needed; name it: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV): about 2 GB, a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/concept-icd demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench:
	@printf '%s\n' $(BENCHMARKS)

bench-cmc2007: BENCH_ARGS ?= --data-dir $(CONCEPT_ICD_DATA)/cmc2007
$(BENCHMARKS): bench-%: $(INSTALLED)
	$(BIN)/python benchmarks/$*.py --out benchmarks/results/$*.json $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./.git/*" -prune -exec rm -rf {} +
