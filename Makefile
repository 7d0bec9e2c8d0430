# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Published without wheels for Python 3.10 and later, and without naming what its build needs.
PYRADIOMICS := pyradiomics==3.0.1

.PHONY: demo test lint bench fuzz clean

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps $(PYRADIOMICS) || \
		echo "$(PYRADIOMICS) could not be built (it needs a C compiler and Python 3.11): its tests will be skipped"
	touch $@

demo: $(READY)
	$(BIN)/sparra demo demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/python -m audit

# The studies `planted` and `real_bags` take hours: run them by name, here they reprint what is saved.
bench: $(READY)
	$(BIN)/python -m benchmarks.graph_building
	$(BIN)/python -m benchmarks.graph_loading
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.local_radiomics
	$(BIN)/python -m benchmarks.cox_ridge
	$(BIN)/python -m benchmarks.screening
	$(BIN)/python -m benchmarks.paper_grid
	$(BIN)/python -m benchmarks.planted --summary
	$(BIN)/python -m benchmarks.real_bags --summary

# Reads 100,000 broken files; whatever is neither read nor refused in one sentence is kept in fuzz-failures/.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m fuzz --inputs 100000

clean:
	rm -rf $(VENV) demo build dist
