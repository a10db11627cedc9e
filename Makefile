# What everybody runs. Each target sets up what it needs in .venv; a stamp makes the next call quick.
PYTHON ?= $(shell command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SHOWN_PIP := $(BIN)/python -m pip --disable-pip-version-check
BASE := $(VENV)/.base
PRUNE := $(VENV)/.prune
DEV := $(VENV)/.dev
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DELETE_ON_ERROR:
.PHONY: help demo test coverage slow lint format docs pictures fuzz fuzz-guided oldest extras bench parity references characterise experiments wheel clean

help:  ## these targets
	@sed -n 's/^\([a-z][a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

SAY := printf '\n\033[1m%s\033[0m\n'
demo: demo-install $(PRUNE)  ## a real network on a real accelerator, then a small one trained and pruned to half its energy
	@$(SAY) "2/4  What does ResNet-18 cost on Eyeriss? hwflow's own model answers, layer by layer."
	$(BIN)/hwflow -v estimate resnet18 --accelerator eyeriss --level mid --html runs/estimate.html
	@if command -v timeloop-model >/dev/null && command -v timeloop-mapper >/dev/null; then \
	    echo $(BIN)/hwflow estimate resnet18 --accelerator eyeriss --level fine --strict; \
	    $(BIN)/hwflow -v estimate resnet18 --accelerator eyeriss --level fine --strict; \
	else echo "The fine level is left out: Timeloop is not on PATH. '$(BIN)/hwflow doctor' says how to get it."; fi
	@$(SAY) "3/4  Train ResNet-20 on 8 x 8 images of digits, which ship with scikit-learn."
	@test -e runs/demo.pt || $(BIN)/hwflow -v train resnet20 --data digits --epochs 8 -o runs/demo.pt
	@$(SAY) "4/4  Prune it to half of its energy on Eyeriss: a search over channel counts, then fine-tuning."
	$(BIN)/hwflow -v prune resnet20 --data digits --weights runs/demo.pt --accelerator eyeriss --level mid --metric energy \
	    --budget 0.5 --episodes 20 --epochs 4 -o runs/demo $(if $(wildcard runs/demo/config.json),--resume)
	@$(SAY) "Open next:"
	@echo "  runs/demo/report.html      what pruning did: accuracy, energy and latency, before and after"
	@echo "  runs/estimate.html         ResNet-18 on Eyeriss: energy by memory, roofline, every layer"
	@echo "  runs/demo/plan.json        channels kept; model.pt and model.onnx beside it are the pruned network"

.PHONY: demo-install
demo-install:
	@test -e $(PRUNE) || $(SAY) "1/4  Set up .venv: hwflow, PyTorch for CPUs (about 200 MB) and what else pruning needs. Once."

test: $(DEV)  ## the quick suite
	$(BIN)/python -m pytest -n auto -m "not slow"

coverage: $(DEV)  ## the quick suite, with the share of lines and branches that it runs; takes longer
	$(PIP) install "pytest-cov>=5"
	COVERAGE_CORE=sysmon $(BIN)/python -m pytest -n auto -m "not slow" --cov=hwflow --cov-branch --cov-report=term:skip-covered

slow: $(DEV)  ## everything, with what takes long and what needs Timeloop where it is found
	$(BIN)/python -m pytest -n auto

lint: $(DEV)  ## what CI demands of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)  ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV)  ## build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"

pictures: $(DEV)  ## draw the README's and the gallery's pictures again
	$(BIN)/python docs/pictures.py

INPUTS ?= 100000
fuzz: $(DEV)  ## broken inputs for every parser, INPUTS of them each
	HWFLOW_FUZZ=$(INPUTS) $(BIN)/python -m pytest -n auto tests/fuzz

SECONDS ?= 60
fuzz-guided: $(DEV)  ## the same parsers under atheris, guided by coverage, SECONDS each; no part of CI
	$(PIP) install "atheris>=3"
	$(BIN)/python -m tests.fuzz.guided --seconds $(SECONDS)

# What needs no extra but onnx, and meets libraries; loopnest and mapper need NumPy only, and are used by cost. Warnings of old
# packages are not ours.
NEED_MORE := $(addprefix tests/network/test_,branches.py callables.py graph.py inputs.py load.py parameters.py torch.py zoo.py) \
    $(addprefix tests/cli/test_,compress.py doctor.py errors.py levels.py library.py output.py search.py)
OLDEST_TESTS := $(filter-out $(NEED_MORE),$(wildcard tests/network/test_*.py tests/cli/test_*.py)) tests/cost tests/hardware \
    tests/mapper/test_search.py tests/store tests/timeloop $(addprefix tests/test_,layers.py mapping.py)
OLDEST := $(VENV)/oldest/.made
$(OLDEST): $(DEV)
	$(PYTHON) -m venv --clear $(VENV)/oldest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --extra onnx --python $(VENV)/oldest/bin/python pyproject.toml \
	    --output-file $(VENV)/oldest.txt
	$(VENV)/oldest/bin/python -m pip install --quiet --requirement $(VENV)/oldest.txt --editable . pytest pytest-xdist hypothesis
	@touch $@

.PHONY: oldest-install
oldest-install: $(OLDEST)

oldest: $(OLDEST)  ## the quick tests that need no PyTorch, with the oldest versions that pyproject.toml allows
	$(VENV)/oldest/bin/python -m pytest -n auto -W default -m "not slow and not timeloop" $(OLDEST_TESTS)

bench: $(DEV)  ## how fast the levels answer, and how good mappings are; says what is left out, and how to have it
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.versus_timeloop --layers 3 --columns perfect --records runs/bench/versus_timeloop.jsonl
	$(BIN)/python -m benchmarks.rivals zigzag --layers 3 --columns perfect --records runs/bench/rivals.jsonl
	$(BIN)/python -m benchmarks.rivals accelforge --layers 3 --columns perfect --cap 300 --records runs/bench/rivals.jsonl

parity: $(DEV)  ## mid against timeloop-model, count by count; needs Timeloop on PATH
	$(BIN)/python -m benchmarks.parity

references: $(DEV)  ## mid's search against timeloop-mapper's recorded answers; needs no Timeloop
	$(BIN)/python -m tools.references compare

characterise: $(DEV)  ## what energies of variants are fitted on; needs Accelergy, and hours, but what is interrupted goes on
	$(BIN)/python -m tools.characterise record
	$(BIN)/python -m tools.characterise fit runs/characterise.jsonl

experiments: $(DEV)  ## the agent against its baselines on Fashion-MNIST; hours, but what is interrupted goes on
	$(BIN)/python -m benchmarks.experiments

PYTHONS ?= python3.11,python3.12,python3.13
extras: $(DEV)  ## the wheel with each extra alone, in empty environments of every Python; downloads, and takes a while
	$(BIN)/python tests/extras.py --pythons $(PYTHONS)

wheel: $(DEV)  ## dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A plain virtual environment is made again where its Python went away.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "hwflow needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(BASE): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --editable .
	@touch $@

$(PRUNE): $(BIN)/python pyproject.toml constraints.txt
	$(SHOWN_PIP) install "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(SHOWN_PIP) install --editable ".[prune,report]"
	@touch $@ $(BASE)

$(DEV): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(PIP) install --editable ".[dev]"
	@touch $@ $(BASE) $(PRUNE)
