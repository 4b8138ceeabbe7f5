# Everything happens in a virtual environment of its own; each extra is installed once, and again when
# pyproject.toml or constraints.txt changes. 'make' alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMPS = $(VENV)/.stamps
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL: # two pips must not write into one environment
.PHONY: help demo test test-slow test-all docs lint format bench bench-2d bench-train bench-command bench-loops bench-growth bench-domains bench-zoo bench-scaling gpu-day faults clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 15

demo: $(STAMPS)/base ## heat a layered rod: solve, print the table, draw rod.png
	$(BIN)/mgnet solve --rhs examples/data/rod_sources.csv --a examples/data/rod_conductivity.csv \
	    --left dirichlet:20 --right robin:10,200 --out rod.csv --plot rod.png

test: $(STAMPS)/test ## the fast tests and the doctests, on all cores: about 8 minutes on two
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(STAMPS)/test ## only the slow tests, on all cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n auto --dist worksteal --durations=10

test-all: $(STAMPS)/test ## every test, with coverage
	$(BIN)/python -m pytest -m "" --cov --cov-report=term-missing:skip-covered

docs: $(STAMPS)/docs ## the documentation, in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -E -W --keep-going -n -b html docs docs/_build/html

lint: $(STAMPS)/lint ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMPS)/lint ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMPS)/bench ## the table of speed and accuracy, in one dimension
	$(BIN)/python benchmarks/poisson1d.py

bench-2d: $(STAMPS)/bench ## the same in two and three dimensions
	$(BIN)/python benchmarks/poisson2d.py

bench-train: $(STAMPS)/bench ## that of training, on the images under MGNET_DATA
	$(BIN)/python benchmarks/train_cpu.py

bench-command: $(STAMPS)/bench ## that of the command: its start, and other work on the processors
	$(BIN)/python benchmarks/command.py

bench-loops: $(STAMPS)/bench ## that of the compiled loops, beside peers and copies
	$(BIN)/python benchmarks/loops.py

bench-growth: $(STAMPS)/bench ## how time and memory grow, and the roofline: the book draws them
	$(BIN)/python benchmarks/growth.py

bench-domains: $(STAMPS)/bench ## cycles in domains made of cells, for tensors and on stretched grids
	$(BIN)/python benchmarks/domains.py

bench-zoo: $(STAMPS)/bench ## six families of networks, on the images under MGNET_DATA: hours; again, and it goes on
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/zoo.py run
	$(BIN)/python benchmarks/zoo.py table

bench-scaling: $(STAMPS)/bench ## several processes that solve and train together, and the model to 1,024
	$(BIN)/python benchmarks/scaling.py

gpu-day: $(STAMPS)/bench ## all figures of a GPU that is lent, in eight minutes
	$(BIN)/python benchmarks/gpu_day.py

faults: $(STAMPS)/bench ## what happens when all goes wrong that can: about 6 minutes on two cores
	$(BIN)/python benchmarks/faults.py

clean: ## what the other targets made, but not the environment
	rm -rf build dist docs/_build docs/api docs/_generated docs/auto_examples htmlcov .coverage rod.png rod.csv
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mgnet tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## the environment too
	rm -rf $(VENV)

# The stamp, not the folder, says that the environment is whole: a failed 'venv' leaves a folder behind.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mgnet needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": try make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/base: $(STAMPS)/venv pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs $(STAMPS)/bench: $(STAMPS)/%: $(STAMPS)/base
	$(INSTALL) --quiet -e ".[$*]"
	@touch $@
