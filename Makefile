# Needs bash, make and one Python >= 3.11; uses uv where it is on PATH, venv and pip otherwise.
# Everything lives in .venv; nothing here needs root, Docker or a running service.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
UV := $(shell command -v uv 2>/dev/null)

# The first interpreter that really runs: version managers leave launchers on PATH for versions that are switched off.
FIND_PYTHON = for candidate in python3.13 python3.12 python3.11 python3; do \
	if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "$$candidate"; exit; fi; done; \
	echo "extauthz needs Python 3.11 or newer on PATH" >&2; exit 1

# $(call export_constraints,FILE): the pins of uv.lock in the form pip reads.
export_constraints = { echo '\# Every pin of uv.lock, for pip; written by "make lock".'; \
	"$$uv" export --quiet --frozen --all-packages --all-extras --no-hashes --no-emit-workspace --no-annotate --no-header; } > $(1)

# $(call export_image,FILE,OPTIONS): what the image installs, each distribution by its hashes.
export_image = { echo '\# From uv.lock, for the Dockerfile; written by "make lock".'; \
	"$$uv" export --quiet --frozen --no-emit-project --no-annotate --no-header $(2); } > $(1)

# $(call export_client,FILE): what the client's distribution installs without extras, by hashes.
export_client = { "$$uv" export --quiet --frozen --package extauthz-client --no-default-groups --no-emit-workspace \
	--no-annotate --no-header; } > $(1)

# $(call write_sbom,NAME,REQUIREMENTS): the bill of materials of a built wheel with its locked dependencies.
write_sbom = $(BIN)/uv venv --quiet --no-project --python $(BIN)/python build/sbom/$(1) && \
	$(BIN)/uv pip install --quiet --python build/sbom/$(1)/bin/python --require-hashes --requirement $(2) && \
	$(BIN)/uv pip install --quiet --python build/sbom/$(1)/bin/python --no-deps \
		dist/$(subst -,_,$(1))-[0-9]*.whl && \
	.venv-release/bin/cyclonedx-py environment --output-reproducible --of JSON \
		--output-file dist/$(1).cdx.json build/sbom/$(1)/bin/python

# $(call sync_group,GROUP): .venv-GROUP with a dependency group of the lock, which make install leaves out.
sync_group = UV_PROJECT_ENVIRONMENT=.venv-$(1) $(BIN)/uv sync --quiet --locked --only-group $(1) --python $(BIN)/python

COVERED_TESTS := tests/unit tests/client tests/wire
# What decides: every branch that is not covered here can be a wrong allow.
DECIDING := extauthz/check/*,extauthz/compile/*,extauthz/decide/*,extauthz/domain/*

EXTRAS := demo,dev,native
SAY_INSTALLING = echo "Installing extauthz, with what demo and tests need, into .venv; the first time takes a minute or two." >&2

# $(call show_progress,OPTIONS WORDS,COMMAND): a line for each package, and none of more than five seconds of silence.
show_progress = "$$python" tools/install_progress.py $(1) -- $(2)

# Debian ships `venv` apart from Python, in python3-venv; a pip of the system can stand in for it.
MAKE_ENVIRONMENT = { $(call show_progress,"  making the environment","$$python" -m venv --clear .venv) || \
	{ "$$python" -m venv --clear --without-pip .venv && "$$python" -m pip --python $(BIN)/python install --quiet pip; } || \
	{ echo "$$python cannot make an environment; install uv, or on Debian: apt-get install python3-venv" >&2; exit 1; }; }

.PHONY: help install demo test test-unit test-property test-wire test-docs test-integration test-e2e \
	test-faults test-pythons test-java coverage check docs dist workflows bench bench-all bench-java soak faults verify lock clean

help: ## show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP) ## make .venv with the extauthz command and everything to develop it

$(STAMP): pyproject.toml sdk/python/pyproject.toml uv.lock constraints.txt
ifdef UV
	@$(SAY_INSTALLING)
	@export UV_PROJECT_ENVIRONMENT=.venv; python="$$($(FIND_PYTHON))"; \
	set -- "$(UV)" sync --locked --all-packages --all-extras --python "$$python"; \
	if [[ -t 2 ]]; then "$$@"; else $(call show_progress,"  uv sync","$$@"); fi
else
	@$(SAY_INSTALLING)
	@$(BIN)/python -m pip --version &>/dev/null || { python="$$($(FIND_PYTHON))" && $(MAKE_ENVIRONMENT); }
	@# One command for both, so that the name extauthz-client is never looked up on an index.
	@export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt; \
	python=$(BIN)/python; \
	$(call show_progress,--packages .venv --total "$$(grep -c == constraints.txt)" "  finding packages", \
		$(BIN)/python -m pip install --editable '.[$(EXTRAS)]' --editable ./sdk/python)
endif
	@touch $@

demo: install ## run the whole stack on this machine until Ctrl-C
	$(BIN)/extauthz demo

# Two workers a core: a test that starts processes waits for half of its time.
# Processes that compile every module at each start take a quarter longer to start.
RUN_TESTS = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n "$$($(BIN)/python -c 'import os; print(2 * os.cpu_count())')" -m 'not installs'

test: install ## run every test
	$(RUN_TESTS)

test-unit: install ## the unit tests
	$(RUN_TESTS) tests/unit tests/client

test-property: install ## the property and fuzz tests
	$(RUN_TESTS) tests/property tests/fuzz

test-wire: install ## the servers, and the bytes on their connections
	$(RUN_TESTS) tests/wire

test-docs: install ## the samples of README and docs, the wheel, the manifests
	$(RUN_TESTS) tests/docs tests/packaging

test-integration: install ## our commands and servers with real PostgreSQL
	$(RUN_TESTS) tests/integration

test-e2e: install ## whole stacks behind real Envoy
	$(RUN_TESTS) tests/e2e

test-faults: install ## faults under load; `make faults` injects each for longer
	$(RUN_TESTS) tests/faults

test-pythons: install ## unit, property, wire and fuzz tests on every CPython 3.11 to 3.13 found; TESTED=PYTHON leaves one out
	$(BIN)/python tools/test_pythons.py $(if $(TESTED),--tested $(TESTED))

test-java: install ## the Java SDK, with a JDK of 17 or newer and Maven; MAVEN='-pl extauthz-client' for a part
	$(BIN)/python tools/test_java.py $(MAVEN)

check: install ## lint, types, layers, patterns, wording, generated files, lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/bandit_findings.py
	$(BIN)/python tools/check_patterns.py
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/python tools/check_words.py
	$(BIN)/python tools/check_names.py
	$(BIN)/python tools/release.py >/dev/null
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python tools/generate_configuration.py --check
	$(BIN)/python tools/generate_policy_tables.py --check
	$(BIN)/python tools/generate_schemas.py --check
	$(BIN)/python tools/generate_providers.py --check
	$(BIN)/python tools/generate_performance.py --check
	$(BIN)/uv lock --check --quiet
	uv=$(BIN)/uv; diff constraints.txt <($(call export_constraints,/dev/stdout)) || \
		{ echo 'constraints.txt differs from uv.lock; run: make lock' >&2; exit 1; }
	uv=$(BIN)/uv; diff deploy/image/requirements.txt <($(call export_image,/dev/stdout,--no-default-groups --extra native)) && \
		diff deploy/image/build-requirements.txt <($(call export_image,/dev/stdout,--only-group build)) || \
		{ echo 'deploy/image differs from uv.lock; run: make lock' >&2; exit 1; }

# Measured: 96.1 % of what decides, 71.3 % of all; the rest is tested with real PostgreSQL, Envoy and processes, which
# would take this command half an hour. COVERED_TESTS='tests/unit tests/wire tests/integration' measures more.
coverage: install ## branch coverage of unit and wire tests, with a floor for all and one for what decides
	rm -rf build/coverage
	$(BIN)/python -m pytest -n "$$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')" \
		--cov --cov-report= $(COVERED_TESTS)
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --include='$(DECIDING)' --skip-covered --sort=cover --fail-under=95
	$(BIN)/coverage report --format=total

docs: install ## build the documentation site into build/site
	$(call sync_group,docs)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo 'build/site/index.html'

dist: install ## build what a release publishes into dist/; TAG=v1.2.3 is checked
	$(BIN)/python tools/release.py $(if $(TAG),--tag $(TAG))
	rm -rf dist build/sbom
	$(BIN)/python -m hatchling build --target sdist --target wheel
	cd sdk/python && ../../$(BIN)/python -m hatchling build --target sdist --target wheel --directory ../../dist
	$(call sync_group,release)
	$(call write_sbom,extauthz,deploy/image/requirements.txt)
	uv=$(BIN)/uv; $(call export_client,build/sbom/client.txt)
	$(call write_sbom,extauthz-client,build/sbom/client.txt)

workflows: install ## lint .github: zizmor, and actionlint where it or Go is installed
	$(call sync_group,workflows)
	.venv-workflows/bin/zizmor --offline --quiet .github
	if command -v actionlint >/dev/null; then actionlint; \
	elif command -v go >/dev/null; then go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7; \
	else echo 'neither actionlint nor Go is installed: only zizmor ran' >&2; fi

bench: install ## measure the request path, write docs/performance.md; BENCH_PYTHON=PYTHON with another interpreter
	$(BIN)/python tools/bench.py $(if $(BENCH_PYTHON),--python $(BENCH_PYTHON))

bench-all: bench ## the request path, then every other benchmark
	for script in tests/benchmarks/bench_*.py; do case "$$script" in \
		*/bench_start.py|*/bench_check.py|*/bench_requests.py|*/bench_java_client.py) ;; *) $(BIN)/python "$$script" ;; esac; done
	$(BIN)/python tools/generate_performance.py

bench-java: install ## what a check costs in the Java client, over java.net.http alone; half a minute
	$(BIN)/python tests/benchmarks/bench_java_client.py

soak: install ## requests through Envoy for SOAK_S seconds (1800) while policies, tokens and workers change
	SOAK_S=$(or $(SOAK_S),1800) $(BIN)/python -m tests.faults.soak
	$(if $(SOAK_RESULT),,$(BIN)/python tools/generate_performance.py)

faults: install ## inject every kind of fault under load, and print what was answered
	FAULT_REQUESTS=2000 $(BIN)/python -m pytest tests/faults

verify: install ## the property and fuzz tests for longer, each run with new random examples
	EXTAUTHZ_VERIFY=1 $(BIN)/python -m pytest -n auto --timeout 3600 tests/property tests/fuzz tests/wire \
		tests/integration/test_rest_conformance.py tests/integration/test_storage_pool.py \
		tests/integration/test_publish_postgres.py tests/e2e/test_rolling_restart.py

lock: ## resolve pyproject.toml again into uv.lock and constraints.txt
	uv="$$(command -v uv || command -v $(BIN)/uv)" || { echo 'make lock needs uv; make install brings it' >&2; exit 1; }; \
	"$$uv" lock && $(call export_constraints,constraints.txt) && \
	$(call export_image,deploy/image/requirements.txt,--no-default-groups --extra native) && \
	$(call export_image,deploy/image/build-requirements.txt,--only-group build)

clean: ## remove .venv and everything tools leave behind
	rm -rf .venv .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
