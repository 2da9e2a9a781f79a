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
MINUTES ?= 60
LOCK := requirements/dev.lock
OLDEST ?= .venv-oldest

export PYTHONWARNINGS ?= default
.PHONY: help install install-locked lock format lint types layers unit test check demo claims claims-quick bench bench-quick fuzz fuzz-quick audit sbom \
	oldest clean

help:
	@echo "make demo    set everything up and run the whole method in a small drawn world, in some minutes"
	@echo "make test    set everything up and run the tests"
	@echo "make check   format, lint, types, layers, then the tests"
	@echo "make claims  measure every claim of the method; hours, and goes on where it stopped (claims-quick: 20 minutes)"
	@echo "make bench   measure the package against the obvious way (bench-quick OUT=FILE: smaller sizes, 8 minutes)"
	@echo "make fuzz    hand every reader what no writer writes, MINUTES=60 for each of five (fuzz-quick: all in a minute)"
	@echo "make audit   ask whether a weakness is known of anything in the lock file; make sbom lists what is installed"
	@echo "make oldest  run the quick tests with the oldest libraries that are allowed, in $(OLDEST); several GB"
	@echo "make format  rewrite the code in the house format"

install: $(STAMP)

# uv keeps wheels under XDG_CACHE_HOME and links them, so that a second clone installs in seconds.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode --editable ".[dev]"
	rm -f $(VENV)/.installed-*
	touch $@

# The same environment to the byte: every file is compared with its hash in the lock. Where an index has other builds of
# a library (a mirror, an own build of torch), this refuses; `make install` takes what is there within the bounds.
install-locked: $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes \
		--requirement $(LOCK)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps --editable .
	rm -f $(VENV)/.installed-*
	touch $(STAMP)

# For Python 3.11 and later on any platform; run it when dependencies in pyproject.toml change, and to take newer ones.
lock: install
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra dev pyproject.toml --output-file $(LOCK)

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
	$(MAKE) fuzz-quick

# By coverage where atheris is installed (the extra `fuzz`), else by chance; ends with 1 if a reader broke the rule.
fuzz: install
	nice -n 19 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

fuzz-quick: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds 55 --seed 1

# These two need the network, and tools of their own that are no part of the environment.
audit: install
	$(BIN)/uv tool run --from "pip-audit==2.10.1" pip-audit --strict --disable-pip --require-hashes --requirement $(LOCK)

sbom: install
	$(BIN)/uv tool run --from "cyclonedx-bom==7.5.0" cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file sbom.json

oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=$(abspath $(OLDEST)) $(OLDEST)/bin/uv pip install --quiet --resolution lowest-direct --editable ".[dev]"
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q $(UNIT)


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
	rm -rf $(VENV) $(OLDEST) sbom.json $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .coverage*
