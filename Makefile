# SPDX-License-Identifier: GPL-3.0-or-later

# Needs Python 3.11 or newer, git and make; all else comes into .venv and .cache.

RUN := tools/env
PYTEST := $(RUN) python -m pytest -p ansible_collections.lastgood.database.tests.plugins.no_skips

# Two workers a core: a test of a real database waits for more than half of its time. With worksteal the tests of a file run in
# one worker, unless another one is idle: each worker that runs a test of a server starts a server of its own.
BUSY := -n $(shell echo $$(($$(nproc) * 2))) --dist worksteal

# PYTHON=python3.12 takes that one instead of the newest.
SETUP := python3 -B tools/setup.py $(if $(PYTHON),--python $(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help setup demo lint types sanity unit integration sweep molecule oldest matrix quick test bench pictures build clean .demo .dev

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .dev ## make .venv with all that the other targets need

demo: .demo ## see it work: a PostgreSQL server, backed up three times, sent away and restored
	@$(RUN) python -m demo.run

lint: .dev ## check style, documentation, licences and the built artifact
	@$(RUN) python tools/lint.py

types: .dev ## check types (mypy, strict)
	@$(RUN) mypy

sanity: .dev ## ansible-test sanity, on every Python of this machine
	@$(RUN) python tools/sanity.py

unit: .dev ## unit tests
	@$(PYTEST) -n auto tests/unit

integration: .dev ## tests against real databases
	@$(PYTEST) $(BUSY) tests/integration tests/sweep

sweep: .dev ## make every call of every operation fail, fall short, or bring a signal: hours
	@SWEEP=all $(PYTEST) -n auto -rP tests/sweep

molecule: .dev ## the role's scenarios
	@$(RUN) molecule test --all

oldest: .dev ## unit tests and the scenarios under the oldest ansible-core that a Python of this machine can run
	@$(RUN) python tools/matrix.py --oldest

matrix: .dev ## unit tests, sanity and the scenarios under each ansible-core, 2.16 to 2.21; CORES=2.16 for one
	@$(RUN) python tools/matrix.py $(CORES)

quick: lint types unit ## what to run before a commit

test: quick sanity integration molecule oldest ## everything

bench: .dev ## how fast it is, beside other tools
	@$(RUN) python -m bench.run

pictures: .dev ## make the pictures of the documentation anew (needs chromium, nodejs and npm)
	@$(RUN) python -m tools.pictures

build: .demo ## the artifact for Galaxy, and the program for hosts without a controller, in .cache/dist
	@$(RUN) python tools/collection.py
	@$(RUN) python tools/program.py

clean: ## remove all that these targets made
	@rm -rf .cache .venv

# These run each time: the script knows at once when there is nothing to do.
.demo:
	@$(SETUP) demo

.dev:
	@$(SETUP) dev
