# Every habit is one word; `make` alone lists them.
# PORT: where `make serve` listens.   REPOSITORY: the model repository.   PYTHON: 3.11 or later.

PYTHON ?= python3
PORT ?= 8080
REPOSITORY ?= model_repository
# `make bench BENCH=--quick`: fewer and shorter cells, 5 minutes.
BENCH ?=
# Where `make triton` listens: http, grpc, metrics.
TRITON_PORTS ?= 8000 8001 8002

# ONNX Runtime's wheels report home unless told not to.
export ORT_DISABLE_TELEMETRY ?= 1

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TRITON_ARGS = --repository $(REPOSITORY) --http-port $(word 1,$(TRITON_PORTS)) \
              --grpc-port $(word 2,$(TRITON_PORTS)) --metrics-port $(word 3,$(TRITON_PORTS))

.DEFAULT_GOAL := help
.PHONY: help serve test check format export triton triton-install peers-install bench fuzz soak chaos overload concurrency fairness sbom audit docs clean

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

soak: export .venv/.dev ## Mixed load, model loads and faults for half an hour: MINUTES=30
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

chaos: export triton-install ## Every fault on a running gateway, on both engines: 8 minutes; writes docs/reliability.md
	$(BIN)/python -m benchmarks.chaos

overload: export .venv/.dev ## Ten times what the gateway can do, from a thousand connections: three minutes
	$(BIN)/python -m benchmarks.overload

concurrency: export triton-install ## 64 clients at once, every answer compared with the one alone, on both engines: MINUTES=5
	$(BIN)/python -m benchmarks.concurrency --minutes $(or $(MINUTES),5)
	$(BIN)/python -m benchmarks.concurrency --minutes $(or $(MINUTES),5) --engine triton

fairness: export .venv/.dev ## What a client that floods leaves to another: four minutes
	$(BIN)/python -m benchmarks.fairness

peers-install: .venv-peers/.installed ## FastAPI, LitServe and BentoML in an environment of their own, to compare with

bench: export triton-install peers-install ## This gateway beside others, same file, same pictures: 25 minutes
	$(BIN)/python -m benchmarks.peers --repository $(REPOSITORY) $(BENCH)
	$(BIN)/python -m tests.write_docs

docs: .venv/.dev ## The documentation as a site in site/, offline: open site/index.html through any web server
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fuzz: export .venv/.dev ## Ten thousand bad inputs against the real gateway; writes docs/reliability-input.md
	$(BIN)/python -m tests.fuzz --cases 10000 --write docs/reliability-input.md

sbom: .venv/.dev ## What the gateway's image is made of, as CycloneDX: build/sbom.cdx.json
	mkdir -p build
	$(BIN)/python deploy/image/pinned.py gateway > build/gateway.txt
	$(BIN)/cyclonedx-py requirements build/gateway.txt --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.cdx.json

audit: sbom ## Known vulnerabilities of it, by pip-audit; says so where no database can be reached
	$(BIN)/python deploy/image/audit.py build/gateway.txt

clean: ## Remove what these commands made, except the exported models
	rm -rf site .venv .venv-triton .venv-peers build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.export: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[export]'
	@touch $@

.venv-peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.export
