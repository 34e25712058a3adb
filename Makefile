# From a clean clone to a running Richmond. `make` alone lists the targets.

VE := ve
CONFIG := etc/richmond.ini
PYTEST_ARGS :=
BENCH_ARGS :=
SIM_ARGS :=
CHAOS_ARGS :=

.DEFAULT_GOAL := help
.PHONY: help run test test-fast bench bench-supervision chaos sim cover lint types fmt rabbitmq chromium clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VE)/.installed rabbitmq ## set up what is missing, then start Richmond with a gateway simulator; Ctrl-C ends it
	@exec $(VE)/bin/richmond start -c $(CONFIG)

test: $(VE)/.installed-dev rabbitmq chromium ## set up what is missing, then run all tests
	@$(VE)/bin/pytest -n auto $(PYTEST_ARGS)

test-fast: $(VE)/.installed-dev ## the tests that need no RabbitMQ
	@$(VE)/bin/pytest -n auto -m "not services" $(PYTEST_ARGS)

bench: $(VE)/.installed-bench rabbitmq ## measure Richmond beside its peers; BENCH_ARGS=--quick to see that it works
	@$(VE)/bin/python -m bench $(BENCH_ARGS)

bench-supervision: $(VE)/.installed-bench rabbitmq ## Richmond beside supervisord, Circus and gunicorn: what becomes of faults
	@$(VE)/bin/python -m bench.supervision $(BENCH_ARGS)

chaos: $(VE)/.installed-dev rabbitmq ## half an hour of faults under load, and a ledger: CHAOS_ARGS='--minutes 2 --seed 7'
	@$(VE)/bin/python -m bench.chaos --minutes 30 --seed 1 $(CHAOS_ARGS)

sim: $(VE)/.installed-sim ## the scaling policy and its peers on traces of load; pictures in var/sim
	@$(VE)/bin/richmond simulate --pictures var/sim $(SIM_ARGS)

cover: $(VE)/.installed-dev rabbitmq chromium ## all tests, with the lines that none of them reached
	@$(VE)/bin/pytest -n auto --cov=richmond --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

screenshots: $(VE)/.installed-dev rabbitmq chromium ## take the pictures of the web pages in docs/screenshots; a few minutes
	@$(VE)/bin/python scripts/screenshots.py

lint: $(VE)/.installed-dev ## style, types and the layers of imports
	@$(VE)/bin/ruff check .
	@$(VE)/bin/ruff format --check .
	@$(VE)/bin/mypy
	@$(VE)/bin/lint-imports

types: $(VE)/.installed-dev ## mypy alone
	@$(VE)/bin/mypy

fmt: $(VE)/.installed-dev ## format, and repair what ruff can repair
	@$(VE)/bin/ruff check --fix .
	@$(VE)/bin/ruff format .

rabbitmq: ## install RabbitMQ's server from Debian if it is missing, without a system-wide broker
	@scripts/install-rabbitmq.sh

chromium: ## install Chromium from Debian if it is missing, for the tests of the web pages
	@scripts/install-chromium.sh

clean: ## remove the virtual environment, builds and caches; var/ stays, the queues are in it
	@rm -rf $(VE) build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VE)/.installed: setup.py scripts/make-venv.sh
	@scripts/make-venv.sh $(VE)
	@echo "Installing Richmond into $(VE)/"
	@$(VE)/bin/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VE)/.installed-dev: $(VE)/.installed
	@echo "Installing the development tools into $(VE)/"
	@$(VE)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VE)/.installed-sim: $(VE)/.installed
	@echo "Installing what the scaling simulator needs into $(VE)/"
	@$(VE)/bin/pip install --quiet --disable-pip-version-check --editable '.[sim]'
	@touch $@

$(VE)/.installed-bench: $(VE)/.installed
	@echo "Installing what the benchmark compares with into $(VE)/"
	@$(VE)/bin/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
