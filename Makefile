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
.PHONY: review review-comment preview deploy validated drift drift-issue rehearse golden-check lint-workflows
.PHONY: image image-scan image-push sbom package release-publish
.PHONY: help setup up down status test e2e test-browser test-rehearsals test-vllm test-operators fuzz fmt lint types golden docs record-release drills scan bench bench-local lock clean

help:  ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test: $(READY)  ## run the default tests: no network, no platform, 17 minutes on two cores
	@$(BIN)/python -m pytest -m "not local and not toolchain and not vllm and not operators and not browser" $(ARGS)

e2e: $(READY)  ## run the tests that need the running platform (make up) or a browser (fetched)
	@$(BIN)/python -m pytest -m "(local or toolchain or browser) and not rehearsal" --timeout=600 $(ARGS)

test-browser: $(READY)  ## run the console's tests in a real browser, without the platform (fetches chromium)
	@$(BIN)/python -m pytest -m "browser and not local" --timeout=300 $(ARGS)

test-rehearsals: $(READY)  ## run the whole lives of local, dev and prod and a move, 5 to 20 minutes each (ARGS="-k prod")
	@$(BIN)/python -m pytest -m rehearsal $(ARGS)

test-vllm: $(READY)  ## run the tests of the gateway before a real vLLM on the CPU (installs 6 GB)
	@$(BIN)/python -m pytest -m vllm --timeout=900 $(ARGS)

test-operators: $(READY)  ## run the real KEDA and Karpenter before our objects (builds both once, 10 minutes and more)
	@$(BIN)/python -m pytest -m operators --timeout=900 $(ARGS)

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

record-release: $(READY)  ## record what this checkout deploys, for the upgrade tests of later ones (RELEASE=0.1.0)
	@$(BIN)/python -m tests.upgrades.record "$$RELEASE"

docs: $(READY)  ## write the generated pages of docs/ anew
	@$(BIN)/python -m infra.settings.reference
	@$(BIN)/python -m infra.settings.schema
	@$(BIN)/python -m infra.ops.reference
	@$(BIN)/python -m infra.ops.reference_pages
	@$(BIN)/python -m infra.ops.grafana
	@$(BIN)/python -m infra.ops.drill.table
	@PENSTOCK_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q -k every_metric tests/gateway/test_what_is_observed.py

drills: $(READY)  ## break the running platform in every way, 8 minutes; writes docs/failures.md
	@$(BIN)/penstock drill all --yes

scan: $(READY)  ## run checkov over what dev and prod make (installs it in an environment of its own)
	@$(BIN)/python -m infra.policy.scan $(ARGS)

bench: $(READY)  ## compare the gateway with others, 10 to 20 minutes (BENCH=quick: 3); writes docs/performance.md
	@$(BIN)/python -m bench.gateway

bench-local: $(READY)  ## measure program time, and the local platform from up to down (stop it first)
	@$(BIN)/python bench/program.py
	@$(BIN)/python bench/local.py

lock: $(READY)  ## resolve the dependencies anew (hashes only, no registry addresses)
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --group local --group dev --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" .ci/checkov.in --output-file .ci/checkov.txt
	@for name in zizmor audit; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --custom-compile-command "make lock" .ci/$$name.in --output-file .ci/$$name.txt || exit 1; done
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --override .ci/vllm-override.in --upgrade --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" .ci/vllm.in --output-file .ci/vllm.txt

# What the workflows call (.github/workflows), and a laptop as well. STACK names the stack; docs/ci.md has the rest.
STACK ?= dev
BASE ?= main
CI := .penstock/ci
IMAGE ?= penstock-gateway:local
# In recipes they are the shell's, so that no text of a tag or a branch is run.
export STACK BASE IMAGE
PINNED_PULUMI := $(BIN)/python -m infra.ops.ci.run_pulumi
SUMMARY = if [ -n "$$GITHUB_STEP_SUMMARY" ]; then cat $(1) >> "$$GITHUB_STEP_SUMMARY"; else cat $(1); fi

review: $(READY)  ## report what this checkout would change in a stack, without credentials (STACK=dev BASE=main)
	@$(BIN)/penstock diff --base "$$BASE" --stack "$$STACK" --output "$(CI)/review-$$STACK.md"
	@$(call SUMMARY,"$(CI)/review-$$STACK.md")

review-comment:  ## put a stack's report on a pull request, or edit the one there (STACK=dev NUMBER=7)
	@$(PYTHON) infra/ops/ci/github.py comment --number "$$NUMBER" --file "$(CI)/review-$$STACK.md"

preview: $(READY)  ## preview a stack in its account, and report on it as `review` does (STACK=dev)
	@mkdir -p $(CI)
	@$(PINNED_PULUMI) preview --stack "$$STACK" --json --show-replacement-steps --non-interactive \
	  > "$(CI)/preview-$$STACK.json" || failed=$$?; \
	  $(BIN)/penstock diff --from-preview "$(CI)/preview-$$STACK.json" --stack "$$STACK" \
	  --output "$(CI)/review-$$STACK.md" && exit $${failed:-0}
	@$(call SUMMARY,"$(CI)/review-$$STACK.md")

deploy: $(READY)  ## update a stack in its account (STACK=dev)
	@$(PINNED_PULUMI) up --stack "$$STACK" --yes --non-interactive --suppress-outputs

validated: $(READY)  ## refuse versions of models in a stack file that have not passed their evaluation (STACK=dev)
	@$(BIN)/penstock model check --stack "$$STACK"

drift: $(READY)  ## look whether a stack in its account is as its state has it (STACK=dev); exits with 4 where not
	@$(BIN)/python -m infra.ops.ci.drift "$$STACK" "$(CI)/drift-$$STACK.md"

drift-issue:  ## open, edit or close the issue on what `drift` found (STACK=dev)
	@$(PYTHON) infra/ops/ci/github.py issue --title "Drift in $$STACK" --file "$(CI)/drift-$$STACK.md"

rehearse: $(READY)  ## deploy, change and destroy a stack file on this machine (STACK=dev)
	@$(BIN)/penstock rehearse "$$STACK"

golden-check: golden docs  ## write golden files and generated pages anew; fails where the committed ones differ
	@git diff --exit-code --stat -- tests docs || { echo "run make golden docs, and commit what they write" >&2; exit 1; }

lint-workflows: $(READY)  ## check .github/workflows with actionlint and zizmor (installs both)
	@$(BIN)/python -m infra.ops.ci.workflows

image:  ## build the gateway's image (IMAGE_BASE=python@sha256:... RDS_ROOTS_SHA256=... IMAGE=name:tag)
	@test -n "$$IMAGE_BASE" && test -n "$$RDS_ROOTS_SHA256" \
	  || { echo "IMAGE_BASE and RDS_ROOTS_SHA256 must be given; app/Dockerfile says what they are" >&2; exit 2; }
	@docker build --file app/Dockerfile --build-arg BASE="$$IMAGE_BASE" \
	  --build-arg RDS_ROOTS_SHA256="$$RDS_ROOTS_SHA256" --tag "$$IMAGE" .

image-scan: $(READY)  ## look for known vulnerabilities in the packages of the gateway's image (needs the network)
	@$(BIN)/python -m infra.ops.ci.audit

image-push:  ## push the gateway's image to its ECR repository, and tell its digest (IMAGE=... IMAGE_REPOSITORY=...)
	@test -n "$$IMAGE_REPOSITORY" || { echo "IMAGE_REPOSITORY must be given: the ECR repository's URL" >&2; exit 2; }
	@aws ecr get-login-password | docker login --username AWS --password-stdin "$${IMAGE_REPOSITORY%%/*}"
	@docker tag "$$IMAGE" "$$IMAGE_REPOSITORY:$$TAG"
	@docker push --quiet "$$IMAGE_REPOSITORY:$$TAG"
	@docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$$IMAGE_REPOSITORY:$$TAG" \
	  | grep -F "$$IMAGE_REPOSITORY@" | sed 's|.*@|digest=|' | head -n 1 | tee -a "$${GITHUB_OUTPUT:-/dev/null}"

sbom: $(READY)  ## write the bills of materials of image and package to dist/ (CycloneDX)
	@mkdir -p dist
	@$(BIN)/python -m infra.ops.ci.sbom image > dist/penstock-gateway.cdx.json
	@$(BIN)/python -m infra.ops.ci.sbom package > dist/penstock.cdx.json

package: $(READY)  ## build the wheel and the source archive into dist/
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

release-publish:  ## make the release of a tag with what is in dist/ (TAG=v1.2.3; needs gh)
	@gh release create "$$TAG" dist/*.whl dist/*.tar.gz dist/*.cdx.json --verify-tag --generate-notes

clean:  ## remove the virtual environment and tool caches of this checkout (stop the platform first)
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
