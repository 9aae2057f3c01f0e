# Everything a checkout needs, each by one command. Set-up happens on the way and is remembered in .venv.
#   PYTHON=/path/to/python3   the interpreter .venv is created with (3.11 to 3.13)
#   FILE=path                 the file or directory that `make demo` sells
#   TESTS=path                the tests that `make test` runs instead of all
#   SECONDS=60                how long `make fuzz` spends on each target

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PYTHON FILE

BIN := .venv/bin
BUILD_INPUTS := setup.py pyproject.toml $(wildcard retrieval/_native/*.c retrieval/_native/core/*.[ch])
SANITIZED := build/sanitized
SECONDS := 60

TESTS ?= tests
PYTEST := $(BIN)/pytest -n 2 --dist loadfile
# Chains, processes, browsers and C of their own are the same with and without the extension: a second run leaves them out, but for the demo.
ONCE := $(filter-out tests/e2e/test_demo.py,$(wildcard tests/e2e/test_*.py)) tests/benchmarks tests/dapp tests/devchain tests/firmware \
	tests/firmware_mesh tests/interop tests/native/test_core.py tests/provider/operator/test_browser.py \
	$(wildcard tests/payment/test_contracts*.py) tests/payment/test_evm.py tests/payment/test_x402_contract.py
SECOND_RUN := $(if $(filter tests,$(TESTS)),$(addprefix --ignore=,$(ONCE)))

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.demo .venv/.project  ## Sell, buy, settle and check one retrieval on this machine
	@$(BIN)/python -m retrieval.devchain.demo $${FILE:+"$$FILE"}

# Without a compiler there is one run, of everything; where CI is set, that is a failure instead.
.PHONY: test
test: .venv/.test .venv/.project  ## Run the tests with the C extension, then without
	@if [ -n "$$CI" ] || compgen -G 'retrieval/_native/_core*.so' >/dev/null; then \
		RETRIEVAL_NATIVE=require $(PYTEST) $(TESTS) && RETRIEVAL_NATIVE=off $(PYTEST) $(SECOND_RUN) $(TESTS); \
	else \
		echo '[test] the C extension is not built: testing the pure-Python path alone' >&2; \
		RETRIEVAL_NATIVE=off $(PYTEST) $(TESTS); \
	fi

.PHONY: check
check: .venv/.test .venv/.project  ## Lint, formatting, types, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py

# Python itself is not sanitized, so the runtimes are loaded first, and what it never frees is no leak of ours. The sanitizers
# refuse libraries that bind their own symbols first, as pycryptodome's do unless told otherwise.
.PHONY: sanitize
sanitize: .venv/.test  ## Run the tests with the C extension under ASan and UBSan
	@mkdir -p $(SANITIZED)
	RETRIEVAL_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/temp
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYCRYPTODOME_DISABLE_DEEPBIND=1 \
	PYTHONPATH=$(SANITIZED)/lib RETRIEVAL_NATIVE=require $(PYTEST) $(SECOND_RUN) $(TESTS)

.PHONY: fuzz
fuzz: .venv/.fuzz .venv/.project  ## Look for inputs that break a parser, in C and in Python, for SECONDS each
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)

.PHONY: interop-env
interop-env: .venv/.test .venv/.project  ## Build the stock peers that `make test` meets where they are: js-libp2p, go-libp2p, Kubo
	$(BIN)/python tests/stock_peers.py
	$(BIN)/python -m benchmarks.peers.kubo_bitswap build

.PHONY: bench-env
bench-env: .venv/.bench .venv/.project  ## Install what the benchmarks measure beside ours

.PHONY: bench
bench: bench-env  ## Measure everything beside its neighbours (minutes): figures and plots in build/bench
	$(BIN)/python -m benchmarks all --json build/bench/results.json --html build/bench/results.html

.PHONY: clean
clean:  ## Remove what was built and cached; `rm -rf .venv` forgets the environment too
	$(MAKE) --silent -C firmware clean
	rm -rf build dist *.egg-info retrieval/_native/_core*.so .venv/.project .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -exec rm -rf {} +

$(BIN)/python:
	@.ci/venv.sh

.venv/.demo: pyproject.toml .ci/install.py | $(BIN)/python
	@$(BIN)/python .ci/install.py packages dev
	@touch $@

.venv/.test: pyproject.toml .ci/install.py | $(BIN)/python
	@$(BIN)/python .ci/install.py packages test
	@touch $@ .venv/.demo

.venv/.fuzz: pyproject.toml .ci/install.py | $(BIN)/python
	@$(BIN)/python .ci/install.py packages fuzz
	@touch $@ .venv/.demo .venv/.test

.venv/.bench: pyproject.toml .ci/install.py benchmarks/peers/kubo_bitswap.py | $(BIN)/python
	@$(BIN)/python .ci/install.py packages bench
	@$(BIN)/python -m benchmarks.peers.kubo_bitswap build
	@touch $@ .venv/.demo

.venv/.project: $(BUILD_INPUTS) | $(BIN)/python
	@$(BIN)/python .ci/install.py project
	@touch $@
