# A fresh machine needs only Python 3.11 or newer, make and the package registries.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
STAMP := $(VENV)/.complete
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Only the lock decides what is installed: an activated environment or a user's settings must not add packages.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Every program in an environment contains the path of its folder: a moved environment does not work.
ifneq ($(shell [ ! -e $(LOCKED) ] || [ -L $(VENV) ] || grep -qF -- " $$(pwd -P)/$(VENV)" $(VENV)/pyvenv.cfg || echo moved),)
$(LOCKED): moved-environment
moved-environment:
	@echo "$(VENV) was made in another folder: creating it again"
endif

.PHONY: setup
setup: $(STAMP) ## make .venv with everything the other targets need

$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "make: $(PYTHON) must be Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing the packages of requirements.lock into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@

$(STAMP): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

.PHONY: demo
demo: setup ## run the whole system on this machine, without Docker, until Ctrl-C
	@exec $(BIN)/python -m orderflow.demo

.PHONY: smoke
smoke: setup ## run the demo without user input: publish, look up, compare, stop
	@exec $(BIN)/python -m orderflow.demo --smoke

.PHONY: lint
lint: setup ## check style, types, import rules and migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.migrations

.PHONY: test
test: lint ## run lint, then the whole test suite (PYTEST_ARGS: arguments for pytest)
ifneq ($(PYTEST_ARGS),)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	@$(BIN)/python -m pytest -m 'not fault' --numprocesses 2 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python -m pytest -m fault
endif

.PHONY: audit
audit: setup ## check all packages for known vulnerabilities, and the hashes of the locks
	@$(BIN)/python -m tools.audit

.PHONY: hooks
hooks: setup ## install the checks before each commit into this clone
	@$(BIN)/pre-commit install

.PHONY: chaos
chaos: setup ## test every fault against real processes, with a table at the end (SEED=number: repeat a run)
	@$(BIN)/python -m pytest tests --chaos --quiet --no-header $(if $(SEED),--chaos-seed $(SEED)) $(PYTEST_ARGS)

.PHONY: bench
bench: setup ## run the benchmarks (BASE=revision: compare with another build; BENCH_ARGS=--quick; PEER, LOOKUP_PEER='command'; SIZES=1; WIDE=1; PLOTS=1)
	@$(if $(PLOTS),$(BIN)/python -m pip install --quiet --require-hashes --requirement bench/requirements.lock)
	@exec $(BIN)/python -m bench $(if $(PLOTS),--plots) $(if $(BASE),--base '$(BASE)') $(if $(SIZES),--only sizes) $(if $(WIDE),--only wide) $(BENCH_ARGS)

.PHONY: screenshots
screenshots: setup ## make the screenshots in docs/images from the running system in Chromium
	@$(BIN)/python -m pytest tests/browser/screenshots.py --quiet --no-header

.PHONY: recording
recording: setup ## make the recording in README.md from `make demo` and the page in Chromium
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement tests/browser/recording/requirements.lock
	@exec $(BIN)/python -m tests.browser.recording

DOCS_VENV := $(VENV)/docs

$(DOCS_VENV)/.locked: docs/requirements.lock $(LOCKED)
	@echo "Installing the packages of docs/requirements.lock into $(DOCS_VENV)"
	@$(BIN)/python -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --require-hashes --requirement docs/requirements.lock
	@touch $@

.PHONY: docs
docs: $(DOCS_VENV)/.locked ## build the documentation as a site in site/, and check its links
	@rm -rf site
	@$(DOCS_VENV)/bin/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir tools/site \
		--doctree-dir $(DOCS_VENV)/doctrees . site
	@$(DOCS_VENV)/bin/python -m tools.site.check site
	@echo "The site is in site/: run 'python3 -m http.server --directory site --bind 127.0.0.1 8000', or open site/index.html (its search then shows titles only)"

COMPILE := env -u PIP_FIND_LINKS -u PIP_NO_INDEX CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet \
	--generate-hashes --allow-unsafe --strip-extras \
	--no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(LOCK_ARGS)

.PHONY: lock
lock: setup ## resolve the dependencies of pyproject.toml into requirements.lock (LOCK_ARGS=--upgrade: newer versions)
	@$(COMPILE) --all-extras --all-build-deps --output-file requirements.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --output-file bench/requirements.lock bench/requirements.in
	@$(COMPILE) --constraint requirements.lock --output-file tests/browser/recording/requirements.lock tests/browser/recording/requirements.in
	@$(COMPILE) --constraint requirements.lock --output-file docs/requirements.lock docs/requirements.in

.PHONY: wheel
wheel: setup ## build the wheel in dist/, the same bytes from the same files
	@env -u SOURCE_DATE_EPOCH $(BIN)/python -m build --wheel --no-isolation --outdir dist .

.PHONY: release
release: setup ## build the wheel of a release: fails if version, CHANGELOG.md and commit do not match
	@$(BIN)/python -m tools.release
	@$(MAKE) wheel

.PHONY: up
up: ## start the whole system with docker compose
	@docker compose up --build --detach

.PHONY: down
down: ## stop it; volumes keep the data
	@docker compose --profile tests --profile obs down

.PHONY: run-tests
run-tests: ## run the test suite in a container (PYTEST_ARGS: arguments for pytest)
	@docker compose --profile tests run --build --rm tests $(if $(PYTEST_ARGS),python -m pytest $(PYTEST_ARGS))

.PHONY: containers
containers: setup ## build the images, run docker-compose.yml on a Docker engine, and break what may break (CONTAINERS_ARGS=--short)
	@exec $(BIN)/python -m tools.containers $(CONTAINERS_ARGS)
