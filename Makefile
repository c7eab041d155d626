PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
KERNELS = tests/featcache/pictures/card tests/featcache/extraction/preparing/test_card_kernels.py tests/benchmarks

.PHONY: help demo test test-all coverage kernels soak mutants lint clean

help:
	@echo "make demo      run the whole method on an embedded example (no network after installation)"
	@echo "make test      lint, type-check and run the quick test suite"
	@echo "make test-all  the same with the slow tests"
	@echo "make coverage  the same, and what of the code they reach"
	@echo "make kernels   interpret the kernels of GPUs on a CPU, and compile them for some"
	@echo "make mutants   change operators and constants one at a time and see whether tests notice (MODULES=… for some)"
	@echo "make lint      ruff, mypy and import-linter"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch and the rest into $(VENV): some minutes, 2 GB or more"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
# PyPI's torchvision is built for CUDA and breaks transformers beside a torch for CPUs: tests of timm do without.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps timm
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread a worker: the workers are the parallelism.
test test-all coverage kernels mutants: export OMP_NUM_THREADS = 1
test test-all coverage kernels mutants: export OMP_WAIT_POLICY = PASSIVE

test: lint
	$(BIN)/python -m pytest -m "not slow and not soak" -n auto

test-all: lint
	$(BIN)/python -m pytest -m "not soak" -n auto --dist loadgroup

# Apart from test-all, as being looked on makes the tests half as slow again.
coverage: $(STAMP)
	$(BIN)/python -m pytest -m "not soak" -n auto --dist loadgroup --cov --cov-report=term --cov-fail-under=85

# Torch for CPUs comes without Triton, which interprets kernels there.
kernels: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[kernels]'
	$(BIN)/python -m pytest -n auto $(KERNELS)

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak --timeout 1800

# For those who change the tests of these modules: an hour, and a tool that nothing else needs.
mutants: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/python tests/mutants/run.py $(MODULES)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output
