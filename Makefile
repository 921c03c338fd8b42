# Two commands on a fresh machine: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process a core, of one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist loadfile

.PHONY: demo test quick check docs paper clean

demo: $(VENV)/.installed
	$(BIN)/lapsi demo -o demo-run --force

test: $(VENV)/.installed-test
	$(PYTEST)

quick: $(VENV)/.installed-test
	$(PYTEST) -m "not slow and not browser"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks experiments
	$(BIN)/ruff format --check src tests benchmarks experiments
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Every figure and table of the paper on the data in $LAPSI_DATA, or on what is built in: about an hour of 2 cores. It can be
# stopped and goes on.
paper: $(VENV)/.installed-test
	$(BIN)/python -m experiments --scale small --to paper-run --page docs/paper.md

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lapsi needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing lapsi and what it needs into $(VENV); that takes a few minutes the first time, without a word."
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site demo-run demo-run.html paper-run
