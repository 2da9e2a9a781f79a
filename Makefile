# Every target sets up what it needs; `make test` and `make demo` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell sha256sum pyproject.toml | cut -c1-16)
LINTED := src tests tools benchmarks
UNIT := -m "not slow" tests/unit tests/golden tests/contracts src
DEMO ?= demo
CLAIMS ?= claims
OUT ?= bench-quick.json

export PYTHONWARNINGS ?= default
.PHONY: help install format lint types layers unit test check demo claims claims-quick bench bench-quick clean

help:
	@echo "make demo    set everything up and run the whole method in a small drawn world, in some minutes"
	@echo "make test    set everything up and run the tests"
	@echo "make check   format, lint, types, layers, then the tests"
	@echo "make claims  measure every claim of the method; hours, and goes on where it stopped (claims-quick: 20 minutes)"
	@echo "make bench   measure the package against the obvious way (bench-quick OUT=FILE: smaller sizes, 8 minutes)"
	@echo "make format  rewrite the code in the house format"

install: $(STAMP)

# uv keeps wheels under XDG_CACHE_HOME and links them, so that a second clone installs in seconds.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode --editable ".[dev]"
	rm -f $(VENV)/.installed-*
	touch $@

format: install
	$(BIN)/ruff format $(LINTED)
	$(BIN)/ruff check --fix $(LINTED)

lint: install
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports

unit: install
	$(BIN)/python -m pytest -q $(UNIT)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90
	$(BIN)/coverage report --include='src/leadpp/functional/*' --fail-under=100

check: lint types layers
	$(MAKE) test

demo: install
	$(BIN)/leadpp demo --run $(DEMO)

# Interrupted at any time, it goes on with the first row that is not finished.
claims: install
	$(BIN)/python -m benchmarks.claims --out $(CLAIMS) --jobs 2
	$(BIN)/python -m benchmarks.claims --table $(CLAIMS)

claims-quick: install
	$(BIN)/python -m benchmarks.claims --out $(CLAIMS) --quick --jobs 2

# Alone on the machine, or the figures tell of the neighbours.
bench: install
	$(BIN)/python -m benchmarks.bench --out benchmarks/results.json --page

bench-quick: install
	$(BIN)/python -m benchmarks.bench --quick --out $(OUT)

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .coverage*
