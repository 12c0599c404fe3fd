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
# A process for each core; a ring that starts servers is one's alone (tests/conftest.py). ARGS='-n 0': one process.
# One that dies is a failure and not replaced: xdist's scheduler waits for ever for the one in its place.
PARALLEL := -n auto --maxprocesses 4 --dist loadscope --max-worker-restart 0
# make demo STORAGE=gcs, make e2e STORAGE=gcs: where the backups go: s3, gcs, azure or file
STORAGE ?= s3
# make e2e SMOKE=1: the demo's scenario alone, and with s3 also one node in each of the other stores
SMOKE ?=
smoke = "smoke$(if $(filter s3,$(STORAGE)), or stores)"
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
test: venv ## unit, contract and API rings: real API server and object stores, no cluster
	dev/tool etcd kube-apiserver minio fake-gcs-server azurite >/dev/null
	$(PY) -m pytest $(PARALLEL) tests/unit tests/contract tests/api $(ARGS)

.PHONY: test-unit
test-unit: venv ## the unit ring alone: no process, no network
	$(PY) -m pytest $(PARALLEL) tests/unit $(ARGS)

.PHONY: model
model: venv ## 50,000 lives of backups with all that can go wrong, half an hour; make test has 2,000. MODEL_RUNS=...
	MODEL_RUNS=$(or $(MODEL_RUNS),50000) $(PY) -m pytest tests/unit/reconcilers/backup/test_model.py $(ARGS)

.PHONY: crash-matrix
crash-matrix: venv ## a backup of 1 GiB whose agent is killed 50 times, on a real MinIO; minutes
	dev/tool minio >/dev/null
	CRASH_KILLS=50 CRASH_MIB=1024 $(PY) -m pytest tests/contract/test_crash_matrix.py -s $(ARGS)

.PHONY: e2e
e2e: venv ## every scenario on a real cluster; SMOKE=1 for what CI runs; STORAGE=s3|gcs|azure|file
	STORAGE=$(STORAGE) $(PY) -m pytest tests/e2e $(if $(SMOKE),-m $(smoke)) -s $(ARGS)

.PHONY: demo
demo: venv ## the main job on a local cluster: back up, lose, restore, compare; STORAGE=s3|gcs|azure|file
	dev/demo --storage $(STORAGE)

.PHONY: bench-transfer
bench-transfer: venv ## the agent, s5cmd and Medusa side by side: benchmarks/TRANSFER.md (hours, a quiet machine)
	$(PY) -m benchmarks.transfer $(ARGS)

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
