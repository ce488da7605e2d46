# Every habit is one word; `make` alone lists them.
# PORT: where `make serve` listens.   REPOSITORY: the model repository.   PYTHON: 3.11 or later.

PYTHON ?= python3
PORT ?= 8080
REPOSITORY ?= model_repository
# Where `make triton` listens: http, grpc, metrics.
TRITON_PORTS ?= 8000 8001 8002

# ONNX Runtime's wheels report home unless told not to.
export ORT_DISABLE_TELEMETRY ?= 1

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TRITON_ARGS = --repository $(REPOSITORY) --http-port $(word 1,$(TRITON_PORTS)) \
              --grpc-port $(word 2,$(TRITON_PORTS)) --metrics-port $(word 3,$(TRITON_PORTS))

.DEFAULT_GOAL := help
.PHONY: help serve test check format export triton triton-install chaos overload soak concurrency clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

serve: export ## Make the environment, export the default models, serve them on 127.0.0.1:$PORT
	VISION_REPOSITORY=$(REPOSITORY) VISION_PORT=$(PORT) $(BIN)/vision serve

export: .venv/.export ## Export the default models into the repository; quick if they are there
	$(BIN)/vision-export --default --repository $(REPOSITORY)

test: check export triton-install ## Everything, from unit tests to a real Triton
	$(BIN)/python -m pytest

check: .venv/.dev ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/.dev ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

triton-install: .venv/.dev ## A real Triton from PyPI, without Docker; one line where it cannot work
	-$(BIN)/python deploy/triton/install.py

triton: export triton-install ## Serve the repository with a real Triton
	$(BIN)/python deploy/triton/serve.py $(TRITON_ARGS)

chaos: export triton-install ## Break everything on purpose, ten minutes: the tables of docs/reliability.md
	$(BIN)/python -m benchmarks.chaos

overload: export ## Ten times the load, a thousand connections, slow ones
	$(BIN)/python -m benchmarks.overload

soak: export ## Mixed load, model loads and faults for half an hour: MINUTES=30
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

concurrency: export ## 64 clients at once, every answer compared with the one computed alone
	$(BIN)/python -m benchmarks.concurrency

clean: ## Remove what these commands made, except the exported models
	rm -rf .venv .venv-triton .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.export: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[export]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.export
