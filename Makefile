# `make` alone lists the targets. Two environments: .venv has the checkout itself (editable) and the
# tools; .venv-demo has what a user gets, the wheel, so that the demo also proves the packaging.

PYTHON ?= python3
JOBS ?= 3
ARGS ?=

VENV := .venv
DEMO := .venv-demo
# Errors only (quiet twice): a pip that is configured with several indexes warns once per package.
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt

BUILD_INPUTS := pyproject.toml hatch_build.py constraints.txt
# $(1): directories; those that are not there yet count as empty.
files = $(shell find $(1) \( -name node_modules -o -name __pycache__ -o -path dashboard/dist \) \
	-prune -o -type f -print 2>/dev/null)
PAGE_SOURCES := $(call files,dashboard)
PAGE := dashboard/dist/index.html
PAGE_TOOLS := dashboard/node_modules/.installed
# npm and its scripts find the Node.js of the environment before any other.
NPM = PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm --prefix dashboard --no-audit --no-fund
PACKAGE_SOURCES := $(call files,crosschat hooks bench)
TYPED := $(wildcard crosschat tests bench hooks dashboard/*.py hatch_build.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test run lint format dist bench prove screenshots clean need-git

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.installed $(if $(filter 1,$(CROSSCHAT_SKIP_DASHBOARD)),,$(PAGE)) ## make .venv (the checkout and its development tools) and the page

# The safe path keeps every Python of the demo from importing the checkout instead of the wheel.
demo: $(DEMO)/.installed ## install the wheel into .venv-demo and watch two sessions finish a task
	@PYTHONSAFEPATH=1 $(DEMO)/bin/crosschat demo $(ARGS)

test: need-git lint ## lint, then run the whole test suite (ARGS='-k name' for a part of it)
	@$(NPM) test --silent
	@$(VENV)/bin/python -m pytest -n $(JOBS) $(ARGS)

run: setup ## leave a hub running on the real data directory
	@$(VENV)/bin/crosschat start --stay $(ARGS)

lint: setup ## ruff, mypy, Biome and tsc, without changing a file
	@$(VENV)/bin/python -m ruff check --quiet .
	@$(VENV)/bin/python -m ruff format --quiet --check .
	@$(VENV)/bin/python -m mypy $(TYPED)
	@$(NPM) run check --silent

format: setup ## let ruff and Biome format the code and repair what they can
	@$(VENV)/bin/python -m ruff check --fix .
	@$(VENV)/bin/python -m ruff format .
	@$(NPM) run format --silent

dist: setup ## build dist/: the sdist, and the wheel from it
	@$(VENV)/bin/python -m build

bench: setup ## run the benchmarks
	@$(VENV)/bin/python -m bench $(ARGS)

prove: setup ## prove the promises for MINUTES=n and add to docs/proof.json; PROVE=short: each part once, in two minutes
	@$(VENV)/bin/python -m tests.prove $(if $(filter short,$(PROVE)),,--minutes $(or $(MINUTES),10)) $(ARGS)

screenshots: setup ## take docs/screenshots anew: every view, light and dark, wide and narrow
	@$(VENV)/bin/python -m dashboard.screenshots $(ARGS)

clean: ## remove everything that make, the builds and the tools made here
	rm -rf $(VENV) $(DEMO) dist dashboard/dist dashboard/node_modules
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The page is left to its own rule: a change to it needs no new installation.
$(VENV)/.installed: $(BUILD_INPUTS)
	$(call make_environment,$(VENV))
	@echo "installing the checkout and its tools into $(VENV) (a minute, the first time)"
	@CROSSCHAT_SKIP_DASHBOARD=1 $(VENV)/bin/python $(PIP_INSTALL) --editable '.[dev]'
	@touch $@

$(PAGE_TOOLS): dashboard/package-lock.json | $(VENV)/.installed
	@$(NPM) ci --silent
	@touch $@

$(PAGE): $(PAGE_SOURCES) $(PAGE_TOOLS)
	@$(NPM) run build --silent -- --logLevel warn
	@touch $@

$(DEMO)/.installed: $(BUILD_INPUTS) $(PAGE_SOURCES) $(PACKAGE_SOURCES)
	$(call make_environment,$(DEMO))
	@echo "installing the wheel into $(DEMO) (half a minute, the first time)"
	@$(DEMO)/bin/python $(PIP_INSTALL) .
	@touch $@

# Make the environment $(1) with the first interpreter that is new enough and really runs: a version
# manager's command may exist and refuse. An environment that works is kept.
define make_environment
@new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
if $(1)/bin/python -c "import pip; $$new_enough" 2>/dev/null; then exit 0; fi; \
found= without_venv=; \
for candidate in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c "$$new_enough" 2>/dev/null || continue; \
	if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then found=$$candidate; break; fi; \
	without_venv=$${without_venv:-$${candidate##*/}}; \
done; \
if [ -z "$$found" ] && [ -n "$$without_venv" ]; then \
	echo "missing: the venv module of $$without_venv. Install it:" >&2; \
	echo "  Debian, Ubuntu: sudo apt-get install $$without_venv-venv" >&2; \
	echo "  macOS:          brew install python" >&2; \
	exit 1; \
elif [ -z "$$found" ]; then \
	echo "missing: Python 3.11 or later. Install it, or name one with PYTHON=/path/to/python3:" >&2; \
	echo "  Debian, Ubuntu: sudo apt-get install python3 python3-venv" >&2; \
	echo "  macOS:          brew install python" >&2; \
	exit 1; \
fi; \
echo "making $(1) with $$("$$found" --version) ($$found)"; \
rm -rf $(1) && "$$found" -m venv $(1)
endef

need-git:
	@git --version >/dev/null 2>&1 || { \
		echo "missing: git, which the tests use. Install it:" >&2; \
		echo "  Debian, Ubuntu: sudo apt-get install git" >&2; \
		echo "  macOS:          brew install git" >&2; \
		exit 1; }
