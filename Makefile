# `make demo` and `make test` set everything up by themselves; set-up is repeated only when pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-slow test-long test-core test-pythons coverage lint format types docs cards benchmarks peers \
	asynchronous distillation fronts study stacking-bench width-bench clean

setup: $(READY)

$(READY): pyproject.toml
	@echo 'Setting up .venv: torch with its CUDA libraries is about 5 GB, which takes some minutes.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)  ## search a small network on digits in 24 trainings, export what was found to ONNX and check it
	$(BIN)/python examples/demo.py

test: $(READY)  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(READY)  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m 'slow and not long'

test-long: $(READY)  ## more of what the slow tests try, outside the gate: every entry exported, every kind of kill
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m long

test-core: $(READY)  ## what needs no torch, without torch, on every Python that the machine has
	.ci/pythons core

test-pythons: $(READY)  ## the fast tests on each of these with everything, and on the oldest torch and timm (20 GB)
	.ci/pythons all

coverage: $(READY)  ## lines and branches that the fast tests run, in processes that they start, too
	mkdir -p outputs/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term --cov-report=html:outputs/coverage/html

lint: $(READY)
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)  ## the site, from docs/, docstrings, cards, tables and notebooks, in outputs/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'outputs/site/index.html is the site.'

cards: $(READY)  ## write model_cards/, docs/costs.md and docs/zoo.md from the registry
	$(BIN)/python -m autobss_zoo.cards
	$(BIN)/python -m autobss_zoo.gallery

benchmarks: $(READY)  ## every figure that README states, but for the next two
	for script in closed_form import_time throughput training_speed small_images small_data small_recipes search_speed detectors \
		engine_overhead large_study faults latency zoo_latency scalenet_cost bad_inputs search_picture; do \
		$(BIN)/python benchmarks/$$script.py --write || exit 1; done

peers: $(READY)  ## AutoBSS beside other searchers, and under a latency: make peers TABLE=Results_MobileNet.json (hours; goes on where it was)
	$(BIN)/python benchmarks/search_peers.py --table $(TABLE) --write
	$(BIN)/python benchmarks/latency_budget.py --table $(TABLE) --write

fronts: $(READY)  ## fronts of a score and a cost beside other searchers': make fronts TABLE=widths_plain (hours; goes on)
	$(BIN)/python benchmarks/pareto_peers.py --table $(TABLE) --write

asynchronous: $(READY)  ## rounds beside the asynchronous mode: make asynchronous TABLE=Results_MobileNet.json
	$(BIN)/python benchmarks/asynchronous.py --table $(TABLE) --write

distillation: $(READY)  ## a small network alone and with a teacher on Fashion-MNIST (under two hours on one thread; goes on)
	$(BIN)/python benchmarks/distillation.py --write

SCALE ?= full
study: $(READY)  ## AutoBSS, random search and the hand-made network on Fashion-MNIST (hours on a GPU; SCALE=cpu is shorter)
	$(BIN)/python benchmarks/fashion_mnist.py --scale $(SCALE) --publish

stacking-bench: $(READY)  ## train 1,500 codes of each of AutoBSS's small spaces, and publish their surrogates (hours; goes on)
	for network in resnet18 resnet50 mnv2; do \
		$(BIN)/python benchmarks/stacking_bench.py --network $$network --publish || exit 1; done

width-bench: $(READY)  ## train every network of two spaces of six widths three times, and publish the tables (hours; goes on)
	for network in plain mobilenet; do \
		$(BIN)/python benchmarks/width_bench.py --network $$network --publish && \
		$(BIN)/python benchmarks/width_bench.py --network $$network --again || exit 1; done

clean:
	rm -rf .venv .venvs outputs
