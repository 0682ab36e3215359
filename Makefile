# Every task of this repository. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := infra components app tests bench

# Bytecode saves seconds at each start of each server; some images switch it off.
unexport PYTHONDONTWRITEBYTECODE
export PULUMI_ERROR_OUTPUT_STRING := 1

.DEFAULT_GOAL := help
.PHONY: help setup up down status test e2e test-vllm fuzz fmt lint types golden docs drills scan bench bench-local lock clean

help:  ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make the virtual environment (done by the others when needed)

$(READY): requirements.lock pyproject.toml .ci/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Penstock needs Python 3.11 or later; '$(PYTHON)' is older. Name one: make up PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "cannot make $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) from requirements.lock (about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

up: $(READY)  ## deploy the stack `local` on this machine (ENGINE=vllm: with the real engine)
	@$(BIN)/penstock up $(if $(ENGINE),--engine $(ENGINE))

down: $(READY)  ## stop the local platform and remove all that it wrote
	@$(BIN)/penstock down

status: $(READY)  ## show the local platform
	@$(BIN)/penstock status

test: $(READY)  ## run the default tests: no network, no platform, under two minutes
	@$(BIN)/python -m pytest -m "not local and not toolchain and not vllm" $(ARGS)

e2e: $(READY)  ## run the tests that need the running platform (make up)
	@$(BIN)/python -m pytest -m "local or toolchain" --timeout=600 $(ARGS)

test-vllm: $(READY)  ## run the tests of the gateway before a real vLLM on the CPU (installs 6 GB)
	@$(BIN)/python -m pytest -m vllm --timeout=900 $(ARGS)

fuzz: $(READY)  ## throw many more mangled requests and streams at the gateway's parsers (EXAMPLES=5000)
	@PENSTOCK_FUZZ_EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/python -m pytest --timeout=3600 tests/gateway/test_fuzzing.py $(ARGS)

fmt: $(READY)  ## format the code
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet --fix-only $(SOURCES)

lint: $(READY)  ## check format and style
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)

types: $(READY)  ## check the types
	@$(BIN)/ty check --error-on-warning $(SOURCES)

golden: $(READY)  ## write the golden files anew, for a review of their diff
	@$(BIN)/python tests/program/write_golden.py
	@PENSTOCK_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/unit/ops/test_command_line.py -k committed

docs: $(READY)  ## write the generated pages of docs/ anew
	@$(BIN)/python -m infra.settings.reference
	@$(BIN)/python -m infra.ops.drill.table

drills: $(READY)  ## break the running platform in every way, 12 minutes; writes docs/failures.md
	@$(BIN)/penstock drill all --yes

scan: $(READY)  ## run checkov over what dev and prod make (installs it in an environment of its own)
	@$(BIN)/python -m infra.policy.scan $(ARGS)

bench: $(READY)  ## compare the gateway with others, 6 minutes (BENCH=quick: 1); writes docs/performance.md
	@$(BIN)/python -m bench.gateway

bench-local: $(READY)  ## measure program time, and the local platform from up to down (stop it first)
	@$(BIN)/python bench/program.py
	@$(BIN)/python bench/local.py

lock: $(READY)  ## resolve the dependencies anew (hashes only, no registry addresses)
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --group local --group dev --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" .ci/checkov.in --output-file .ci/checkov.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --override .ci/vllm-override.in --upgrade --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" .ci/vllm.in --output-file .ci/vllm.txt

clean:  ## remove the virtual environment and tool caches of this checkout (stop the platform first)
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
