# Everything that is done with this checkout; CI calls nothing else. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
PY := .venv/bin/python
# What builds leave behind lives outside the checkout, as with dev/cluster.
CACHE := $(or $(CASSANDRA_OPERATOR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cassandra-operator)

# Pass a test's name or options: make test ARGS='-k queue -x'
ARGS ?=
# make e2e SMOKE=1: the demo's scenario alone
SMOKE ?=
# make run NAMESPACE=...: which namespace the operator watches; default: the kubeconfig's
NAMESPACE ?=

.PHONY: help
help: ## this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## .venv with all dependencies, from the cache while pyproject.toml is the same
	@dev/venv "$(PYTHON)" "$(CACHE)"

.PHONY: format
format: venv ## format the code, and mend what ruff can mend
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

.PHONY: lint
lint: venv ## ruff, mypy, the direction of imports, CRDs as the code has them
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m reconcilers.api.crds --check

.PHONY: test
test: venv ## unit, contract and API rings: real API server and object store, no cluster
	dev/tool etcd kube-apiserver minio >/dev/null
	$(PY) -m pytest tests/unit tests/contract tests/api $(ARGS)

.PHONY: test-unit
test-unit: venv ## the unit ring alone: no process, no network
	$(PY) -m pytest tests/unit $(ARGS)

.PHONY: e2e
e2e: venv ## every scenario on a real cluster; SMOKE=1 for the demo's alone
	$(PY) -m pytest tests/e2e $(if $(SMOKE),-m smoke) -s $(ARGS)

.PHONY: demo
demo: venv ## the main job on a local cluster: back up, lose, restore, compare
	dev/demo

.PHONY: run
run: venv ## the operator on this machine, against KUBECONFIG or the local cluster
	$(PY) -m dev.scenario.local $(if $(NAMESPACE),--namespace $(NAMESPACE)) $(ARGS)

.PHONY: cluster-up
cluster-up: venv ## a local cluster with images and MinIO
	dev/cluster up

.PHONY: cluster-down
cluster-down: ## end the local cluster and remove all that it left
	dev/cluster down

.PHONY: images
images: venv ## build the images that changed and load them into the local cluster
	dev/cluster load

.PHONY: crds
crds: venv ## write manifests/crds from the code
	$(PY) -m reconcilers.api.crds
