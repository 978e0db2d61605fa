# Thin targets; every one is a line you could type yourself.
RELEASE ?= 24.08
FLAGS   ?=
PYTHON  ?= python3
VLLM    ?= 0.5.3.post1
ROWS    ?= *-cpu-pypi
BENCH_IMAGE ?= tritonserver:$(RELEASE)-vllm-python-py3-cpu
BENCH_FLAGS ?=
VENV    := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help image test test-unit test-engines test-daemon test-release lint render lock check check-locks reproduce soak api-facts bench release clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

image: ## build and prove an image: make image RELEASE=24.10 FLAGS=--enable-gpu
	./build.py --upstream-container-version=$(RELEASE) $(FLAGS)

test: lint check test-unit ## everything: lint, unit tests, build the image, smoke-test it, hold it to the contract
	./build.py --upstream-container-version=$(RELEASE) --no-smoke $(FLAGS)
	$(VENV)/python -m pytest tests/buildx tests/image tests/conformance -v

test-unit: venv ## unit tests only: no engine, no network, seconds
	$(VENV)/python -m pytest tests/unit

test-engines: venv ## the adapters on a real engine, built for this CPU: make test-engines VLLM=0.5.3.post1; 6 GB, minutes
	$$($(VENV)/python -m tests.engines.cpu_engine $(VLLM)) -m pytest tests/engines -v

test-daemon: venv ## what needs an engine, minutes and 15 GB: servers out of stand-ins, a row built twice, vLLM put into containers
	$(VENV)/python -m pytest tests/daemon -v

lint: venv ## ruff and mypy
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

check: venv ## generated files are what versions.yaml and templates/ say
	./build.py render --check
	./build.py lock --check --offline

check-locks: venv ## every lock still resolves, and every wheel in it still exists (asks the package index)
	./build.py lock --check

render: venv ## write dockerfiles/ and docker-bake.json from versions.yaml and templates/
	./build.py render

lock: venv ## resolve all requirement locks anew
	./build.py lock
	$(VENV)/uv pip compile requirements.in --universal --python-version 3.10 --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.txt

reproduce: venv ## build the default cpu row twice from nothing and compare the images
	./build.py reproduce $(RELEASE)-cpu-pypi

test-release: venv ## releases broken at every request, and the report in a browser; an engine, 10 minutes
	$(VENV)/python -m pytest tests/release tests/browser -v

release: ## release images to a registry: make release REGISTRY=localhost:5000 ROWS='24.*-cpu-pypi'
	./build.py release '$(ROWS)' --registry $(REGISTRY)/tritonserver $(FLAGS)

soak: venv ## crowds, malformed requests and killed processes against the built image, under 10 minutes
	$(VENV)/python -m pytest tests/soak -v

api-facts: venv ## read anew which signatures each vLLM has: make api-facts VERSIONS=0.33.0
	$(VENV)/python -m tests.unit.backend.api_facts $(VERSIONS)

bench: ## front-end cost on this machine, inside the image: make bench BENCH_FLAGS='--concurrency 64'
	docker run --rm --init --network none --shm-size=2g --user $$(id -u):0 --volume "$(CURDIR):/src" --workdir /src \
	  $(BENCH_IMAGE) python3 -m benchmarks run --model tiny-opt --triton /opt/tritonserver --backend backend_src --no-plot \
	  --engine-arg max_model_len=1024 --engine-arg max_num_seqs=256 --engine-arg enforce_eager=true \
	  --engine-arg kv_cache_memory_bytes=1000000000 $(BENCH_FLAGS)

clean: ## remove what builds leave in the checkout (images stay)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: venv
venv:
	@$(PYTHON) -m tritonbuild.bootstrap
