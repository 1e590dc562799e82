# Each target is one real command; the programs come from .venv, which bootstrap makes.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),1,)

.PHONY: help up down test topology unit lint check bench lock

help: ## what there is to do
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

# What the lab's hosts are before the first run: bare VMs, one bare machine (single), or VMs on which AutoBot runs
# (lived_in).
LAB_SITE ?= lab
SCENARIO_lab := default
SCENARIO_single := default
SCENARIO_lived_in := lived_in
SCENARIO = $(or $(SCENARIO_$(LAB_SITE)),$(error LAB_SITE is $(LAB_SITE); it can be lab, single or lived_in))
INVENTORY_single := lab_single
up: export ANSIBLE_INVENTORY = inventory/$(or $(INVENTORY_$(LAB_SITE)),$(LAB_SITE))

up: ## bring up the lab, deploy the whole site, and prove that it works (LAB_SITE: single, or lived_in, beside AutoBot)
	@scripts/bootstrap
	ansible-playbook molecule/$(SCENARIO)/create.yml
	$(if $(filter lived_in,$(LAB_SITE)),ansible-playbook playbooks/assess.yml)
	ansible-playbook site.yml

down: ## end the lab and leave nothing behind
	@scripts/bootstrap
	ansible-playbook molecule/default/destroy.yml
	for lab in .lab-*/; do name=$${lab#.lab-}; [ ! -d "$$lab" ] || scripts/other-lab "$${name%/}" --end; done

test: ## everything: lint, unit, API against a real PostgreSQL, and the whole topology (FULL=1: before a release)
	@scripts/bootstrap test
	@scripts/stage.py --begin
	@$(MAKE) --no-print-directory $(STAGES) --keep-going stages; status=$$?; scripts/stage.py --table; exit $$status

# Side by side, fifty requests a second in each of two labs are more than two cores answer: a full run takes one
# stage after the other. How many branches the tests reach costs a third more: a full run says it.
STAGES := --jobs
ifeq ($(FULL),1)
STAGES :=
COVERAGE := --cov --cov-report=
export COVERAGE_FILE = $(CURDIR)/build/coverage.$@
OTHER_SITES := lived_in single
endif

# Stages of `make test`, each with its budget of CPU seconds. What needs no lab gives way to what makes one,
# and to what judges it; recovery and releases have a copy of the lab each; what measures time runs alone.
.PHONY: stages services checks deploy copy site recovery releases ended lived_in single alone
stages: alone $(OTHER_SITES)
	$(if $(COVERAGE),export COVERAGE_FILE=build/coverage && coverage combine && coverage report)
	molecule destroy

services:
	@scripts/stage.py --give-way $@ 1500 pytest $(COVERAGE) --numprocesses auto -m "not alone" tests/integration tests/api

checks:
	@scripts/stage.py --give-way $@ 600 $(MAKE) --no-print-directory BESIDE=1 lint unit

deploy:
	@scripts/stage.py $@ 500 sh -c 'molecule destroy && molecule check && molecule converge && molecule idempotence'

copy: deploy
	@scripts/stage.py $@ 100 scripts/copy-lab recovery releases

site: copy
	@scripts/stage.py $@ 1600 pytest -m "not alone" --durations 10 tests/infra tests/e2e

recovery releases: copy
	@scripts/other-lab $@ scripts/stage.py $@ 1100 pytest -m "not alone" --durations 10 tests/$@ tests/last

# The end of a lab changes the machine's network: a browser gives up what it is loading, net::ERR_NETWORK_CHANGED.
ended: site recovery releases
	@for lab in recovery releases; do scripts/other-lab $$lab --end; done

lived_in:
	@LAB_SITE=$@ ANSIBLE_INVENTORY=inventory/$@ scripts/other-lab lived scripts/stage.py $@ 1000 sh -c 'ansible-playbook molecule/lived_in/create.yml && pytest --durations 5 tests/lived_in'
	@scripts/other-lab lived --end

single:
	@LAB_SITE=$@ ANSIBLE_INVENTORY=inventory/lab_$@ scripts/other-lab $@ scripts/stage.py $@ 600 sh -c 'ansible-playbook molecule/default/create.yml && ansible-playbook site.yml && pytest --durations 5 tests/single'
	@scripts/other-lab $@ --end

# Tests without a lab wait for deadlines, two of them do not meet; all others have the machine for themselves.
alone: services checks ended
	@scripts/stage.py $@ 200 sh -c 'pytest $(COVERAGE) --numprocesses auto -m alone --ignore tests/api/test_timing.py tests/unit tests/integration tests/api && pytest -m alone tests/api/test_timing.py tests/infra tests/recovery tests/e2e && pytest tests/last'

topology: ## the whole topology from nothing, deployed and judged (LAB_DEBIAN=12: on Debian 12)
	@scripts/bootstrap test
	molecule test

unit: ## the tests that need no service
	@scripts/bootstrap unit
	npm --prefix service/admin_ui test
	pytest $(COVERAGE) $(if $(BESIDE),-m "not alone") tests/unit

lint: ## every static check
	@scripts/bootstrap lint
	ruff check .
	ruff format --check .
	scripts/check_types.py
	PYTHONPATH=service lint-imports
	yamllint --strict .
	ansible-lint --offline
	shellcheck $$(grep -rIlE '^(#!/bin/sh|#!/usr/bin/env bash|# shellcheck shell=)' .ci scripts roles/*/files)
	scripts/role_readmes.py --check
	.cache/promtool check rules roles/monitoring/files/autobot.rules.yml
	.cache/promtool test rules tests/alerts/*.yml
	PYTHONPATH=service scripts/lint_migrations.py
	npm --prefix service/admin_ui run check

check: ## what your changes concern, without the lab, in minutes
	@scripts/bootstrap check
	@scripts/check_changes.py

bench: ## figures of this machine, beside their aims and a rival's (half an hour)
	@scripts/bootstrap bench
	PYTHONPATH=service:collections python -m tests.perf.bench $(BENCH)

lock: ## resolve the dependencies again, with hashes
	@scripts/bootstrap lint
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/service.txt
	uv pip compile pyproject.toml --group controller --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/controller.txt
	uv pip compile --group pyproject.toml:rival --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/rival.txt
	uv pip compile --group pyproject.toml:postgresql --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/postgresql.txt
	npm --prefix requirements/postgresql install --package-lock-only --silent
