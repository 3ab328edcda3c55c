# One command each, on a fresh clone of a fresh machine: every target makes what it needs first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
UV_VERSION = $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements/dev.lock)

.PHONY: help run test lint format bench lock services services-stop clean torture simulate simulate-mutants conformance stage sam-local

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

run: $(INSTALLED) ## Set up, then the first example: three runs and a refusal, from git repository to metrics
	@$(BIN)/python examples/01-train-digits/walkthrough.py

test: $(INSTALLED) ## Set up, then all tests. Those whose service is missing are skipped; with CI set they fail
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# mypy and import-linter want one package folder; functions/ and shared/slipway/ become one in this tree of links.
lint: $(INSTALLED) ## Set up, then ruff, mypy --strict and the import contracts
	@rm -rf .lint && mkdir -p .lint && cp -rs "$(CURDIR)/shared/slipway" .lint/ && cp -rs "$(CURDIR)/functions" .lint/slipway/functions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.lint $(BIN)/mypy -p slipway
	MYPYPATH=.lint:. $(BIN)/mypy --explicit-package-bases sam/app.py tools/stage.py tools/closure.py
	@PYTHONPATH=.lint $(BIN)/lint-imports

format: $(INSTALLED) ## Set up, then let ruff mend what it can
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format .

bench: $(INSTALLED) ## Set up, then print the speed and size table (bench/)
	@$(BIN)/python -m bench

torture: $(INSTALLED) ## ITEMS=n SEED=s: set up, then kill workers with SIGKILL all the time, and see that nothing is lost
	@TORTURE_ITEMS=$(or $(ITEMS),1000) TORTURE_SEED=$(SEED) $(BIN)/python -m pytest -s tests/e2e/test_killed_workers.py

services: ## Install by package name and start, idempotently, every local service the tests can use
	@tools/services start

services-stop: ## Stop what `make services` started
	@tools/services stop

# What functions ship is what the tests run with: their lock files follow the first.
LOCK = $(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header
LAMBDA = -c requirements/dev.lock --python-version 3.11 --python-platform x86_64-manylinux2014
lock: $(INSTALLED) ## Renew the lock files after a change of dependencies
	@$(LOCK) --extra dev pyproject.toml -o requirements/dev.lock
	@$(LOCK) requirements/sam.in -o requirements/sam.lock
	@$(LOCK) onprem/helm.in -o onprem/helm.lock
	@$(LOCK) -c requirements/dev.lock --python-version 3.11 --extra gcp --extra azure --extra kubernetes pyproject.toml onprem/image.in -o onprem/image.lock
	@$(LOCK) $(LAMBDA) requirements/aws-runtime.in -o requirements/aws-runtime.lock
	@for each in submit step build; do \
	  $(LOCK) $(LAMBDA) --overrides requirements/aws-provided.txt requirements/aws-$$each.in -o requirements/aws-$$each.lock; done

clean: ## Remove everything that was made here
	@rm -rf .venv .venv-sam* .venv-helm* .lint build dist sam/.aws-sam .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

simulate: $(INSTALLED) ## SCHEDULES=n SEED=s: whole schedules of workers, crashes and lost answers; SEED=s TRACE=1: one of them, call by call
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation.simulate $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED)) $(if $(TRACE),--trace)

simulate-mutants: $(INSTALLED) ## SCHEDULES=n SEED=s: plant known bugs, one by one, and print which seed caught which
	@$(BIN)/python -m tests.simulation.hunt $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED)) $(if $(WANTED),--wanted $(WANTED))

conformance: $(INSTALLED) ## CASES=file: set up, then hold W&B Launch's behaviour, case by case, against Slipway's
	@$(BIN)/python -m tests.conformance.run $(CASES)

stage: $(INSTALLED) ## CLOUD=aws OUT=dir [FUNCTION=name]: put together what each function ships, and print its size
	@$(BIN)/python -m tools.stage "$(CLOUD)" "$(OUT)" $(FUNCTION)

sam-local: $(INSTALLED) ## EVENT=name: set up, then every events/aws/*.json through `sam local invoke`, and what became of it
	@$(BIN)/python -m tools.sam_local $(EVENT)

# The environment is made from the lock file alone, by uv, which pip fetches at the locked version.
$(INSTALLED): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Slipway needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv); PYTHON=... names another" >&2; exit 1; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/dev.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
