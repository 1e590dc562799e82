# Each target is one real command; the programs come from .venv, which bootstrap makes.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),1,)

.PHONY: help up down test topology checks unit lint bench lock

help: ## what there is to do
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

up: ## bring up the lab, deploy the whole site into it, and prove that it works
	@scripts/bootstrap
	ansible-playbook molecule/default/create.yml
	ansible-playbook site.yml

down: ## end the lab and leave nothing behind
	@scripts/bootstrap
	ansible-playbook molecule/default/destroy.yml

test: ## everything: lint, unit, API against a real PostgreSQL, and the whole topology
	@scripts/bootstrap test
	pytest --numprocesses auto tests/integration tests/api
	$(MAKE) --no-print-directory --jobs=3 topology checks

topology: ## the whole topology from nothing, deployed and judged (LAB_DEBIAN=12: on Debian 12)
	@scripts/bootstrap test
	molecule test

# Beside the deployment of the topology, and over before that is judged.
checks:
	@$(MAKE) --no-print-directory --output-sync lint unit

unit:
	npm --prefix service/admin_ui test
	pytest tests/unit

lint: ## every static check
	@scripts/bootstrap lint
	ruff check .
	ruff format --check .
	scripts/check_types.py
	PYTHONPATH=service lint-imports
	yamllint --strict .
	ansible-lint --offline
	scripts/role_readmes.py --check
	.cache/promtool check rules roles/monitoring/files/autobot.rules.yml
	.cache/promtool test rules tests/alerts/*.yml
	PYTHONPATH=service scripts/lint_migrations.py
	npm --prefix service/admin_ui run check

bench: ## figures of this machine, beside their aims and a rival's (half an hour)
	@scripts/bootstrap bench
	PYTHONPATH=service:tests/support python tests/perf/bench.py $(BENCH)

lock: ## resolve the dependencies again, with hashes
	@scripts/bootstrap
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/service.txt
	uv pip compile pyproject.toml --group controller --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/controller.txt
	uv pip compile --group pyproject.toml:rival --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements/rival.txt
