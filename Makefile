# make demo    sets up everything, then tunes cifar_resnet20_v1 and releases, fetches and uses the records
# make test    sets up everything, then runs the tests: of the slow ones a twelfth, others after a day's commits
# make test-all    the same with all cases
# make test-torch  tests the PyTorch and ONNX front ends, and the frameworks that `tophub bench` compares with, in a
#                  separate environment: PyTorch is a large download
# make check   format, lint, types, and the import rules between subpackages
# make docs    builds the documentation's site in build/docs, to open in a browser: build/docs/index.html
# make bench   runs the benchmarks, each against a peer in the same run

# Modules are compiled once, not in each of the thousand processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

# MXNet 1.9.1 needs NumPy 1, which ends at Python 3.12.
PYTHON ?= $(shell tools/find_python.sh 3.12 3.11 3.10)
BIN := .venv/bin
# PyTorch, ONNX and TVM run in one process with today's NumPy, on any supported Python.
TORCH_PYTHON ?= $(shell tools/find_python.sh 3.13 3.12 3.11 3.10)
TORCH_BIN := .venv-torch/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --editable

# Two processes: tests are mostly single-threaded Python. A file's tests, with their fixtures, stay in one process;
# tests/conftest.py puts the long files first.
PYTEST := $(BIN)/pytest -n 2 --durations 25 --dist loadfile --no-loadscope-reorder

TIMED = $(BIN)/pytest -m timed $$(grep -rl --include='test_*.py' 'mark\.timed' tests)

.PHONY: demo test test-all test-torch check docs bench clean

demo: .venv/.demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/demo.sh

# Tests that compare times run alone, after the others.
test: .venv/.dev
	$(PYTEST) -m "not timed"
	$(TIMED)

test-all: .venv/.dev
	$(PYTEST) -m "not timed" --exhaustive
	$(TIMED) --exhaustive

test-torch: .venv-torch/.ready
	$(TORCH_BIN)/pytest -n 2 --dist loadfile tests/torch tests/frontends/test_onnx.py tests/frontends/test_relax.py \
		tests/bench/test_operators.py tests/bench/test_peers.py

check: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/.dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/fetch.py
	$(BIN)/python benchmarks/merge.py
	$(BIN)/python benchmarks/tuning.py

.venv/bin/python:
	@test -n "$(PYTHON)" || { tools/find_python.sh 3.12 3.11 3.10; exit 1; }
	@echo "Making an environment in .venv with $(PYTHON)"
	@"$(PYTHON)" -m venv .venv

.venv/.demo: pyproject.toml | .venv/bin/python
	@echo "Installing tophub-registry into .venv, with apache-tvm, MXNet and gluoncv (once; a minute or two)"
	@$(INSTALL) ".[tune,mxnet,report]"
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	@echo "Installing tophub-registry into .venv, with everything that its tests and checks need (once; a minute or two)"
	@$(INSTALL) ".[tune,mxnet,test,dev]"
	@touch $@ .venv/.demo

.venv/.docs: pyproject.toml | .venv/bin/python
	@echo "Installing tophub-registry into .venv, with what makes the documentation's site (once; a minute)"
	@$(INSTALL) ".[tune,docs]"
	@touch $@

.venv-torch/.ready: pyproject.toml
	@test -n "$(TORCH_PYTHON)" || { tools/find_python.sh 3.13 3.12 3.11 3.10; exit 1; }
	@echo "Installing tophub-registry into .venv-torch, with PyTorch (once; some minutes)"
	@"$(TORCH_PYTHON)" -m venv .venv-torch
	@$(TORCH_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[tune,bench,test,test-torch]"
	@touch $@

clean:
	rm -rf .venv .venv-torch .cache
