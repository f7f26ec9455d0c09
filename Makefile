# Every target sets up what it needs from a fresh clone. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export MINISTACK_PORT ?= 4566
export PORT ?= 8080

VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
export UV_COMPILE_BYTECODE := 1
# Trust what the machine trusts, as pip does: a company's own certificate authority too.
export UV_SYSTEM_CERTS := 1
export NODE_USE_SYSTEM_CA := 1
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/node_modules/.bin:$(PATH)
PAGE_SOURCES := $(shell find agent/web -path '*/node_modules' -prune -o -path '*/dist' -prune \
    -o -type f -print)
GROUPS_LOCKED := lambdas agent dev emulator

.PHONY: help setup test test-aws lint types bench demo e2e deploy-local serve chat page stop-local lock clean

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(VENV)/.tool: requirements/uv.txt
	@python=$$(for name in $${PYTHON:-python3.13 python3 python}; do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; \
	    then command -v "$$name"; break; fi; done); \
	if [ -z "$$python" ]; then \
	    echo "Python 3.13 was not found: install it, or say where it is: make PYTHON=/path/to/python3.13" >&2; \
	    exit 1; fi; \
	echo "setting up: Python environment ($$python)"; \
	"$$python" -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.tool requirements/dev.txt
	@echo "setting up: Python packages"
	@$(UV) pip sync -q --require-hashes --python $(PY) requirements/dev.txt
	@touch $@

.local/emulator/.ready: $(VENV)/.tool requirements/emulator.txt
	@echo "setting up: MiniStack, the embedded AWS"
	@mkdir -p .local && $(UV) venv -q --clear --python $(PY) .local/emulator
	@$(UV) pip sync -q --require-hashes --python .local/emulator/bin/python requirements/emulator.txt
	@touch $@

node_modules/.ready: $(VENV)/.dev package.json package-lock.json
	@echo "setting up: CDK CLI"
	@$(VENV)/bin/npm ci --loglevel=error --no-audit --no-fund
	@touch $@

agent/web/node_modules/.ready: $(VENV)/.dev agent/web/package.json agent/web/package-lock.json
	@echo "setting up: the page's packages"
	@cd agent/web && $(CURDIR)/$(VENV)/bin/npm ci --loglevel=error --no-audit --no-fund
	@touch $@

agent/web/dist/index.html: agent/web/node_modules/.ready $(PAGE_SOURCES)
	@echo "building the page"
	@cd agent/web && $(CURDIR)/$(VENV)/bin/npm run --silent build -- --logLevel error

page: agent/web/dist/index.html ## build the chat page into agent/web/dist

setup: $(VENV)/.dev .local/emulator/.ready node_modules/.ready ## install everything into this folder

test: setup page ## all tests but the browser's, on the stack deployed into MiniStack
	@$(PY) -m pytest --ignore tests/browser
	@cd agent/web && $(CURDIR)/$(VENV)/bin/npm run --silent test

e2e: setup page ## the chat page in a real Chromium; screenshots go to .local/screenshots
	@command -v chromium > /dev/null || { \
	    echo "error: Chromium was not found: install it, for example apt-get install chromium" >&2; \
	    exit 1; }
	@$(PY) -m pytest tests/browser

lint: $(VENV)/.dev agent/web/node_modules/.ready ## ruff; Biome for the page
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@cd agent/web && $(CURDIR)/$(VENV)/bin/npm run --silent lint

types: $(VENV)/.dev ## mypy, strict
	@$(PY) -m mypy

demo: setup ## one whole sign-in, end to end, as a guest sees it
	@$(PY) -m tests.e2e.demo

test-aws: setup page ## prove the deployment STACK=EmailOtp on AWS (REGION=...); without STACK a local one
	@$(PY) -m tests.aws $(if $(filter undefined,$(origin STACK)),--local,--stack "$(STACK)" \
	    $(if $(REGION),--region "$(REGION)"))

bench: setup ## how fast it is, in a table
	@$(PY) -m tests.bench

deploy-local: setup ## MiniStack with the stack deployed; writes .local/outputs.json
	@$(PY) -m infra.local deploy

serve: setup ## the agent on http://127.0.0.1:$PORT, against deploy-local
	@$(PY) -m infra.local serve

chat: setup page ## the chat page on http://127.0.0.1:$PORT, with everything behind it
	@$(PY) -m infra.local chat

stop-local: ## end MiniStack
	@if [ -x $(PY) ]; then $(PY) -m infra.local stop; fi

lock: $(VENV)/.dev ## renew requirements/*.txt from pyproject.toml
	@for group in $(GROUPS_LOCKED); do \
	    $(UV) pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url \
	        --python-version 3.13 --group pyproject.toml:$$group -o requirements/$$group.txt; done

clean: stop-local ## remove what the other targets made
	@rm -rf $(VENV) .local node_modules cdk.out agent/web/node_modules agent/web/dist
