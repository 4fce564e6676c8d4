# Set-up and the few commands a newcomer needs. Everything is installed into $(VENV).
#
#   make sample                     64 new pictures from the shipped checkpoint -> samples.png
#   make test                       the whole test suite, on every core; JOBS=1 for one process
#   make TORCH_INDEX=URL ...        take PyTorch from that package index (for example one with CPU builds)
#   make PYTHON=python3.12 ...      another interpreter (>= 3.10)

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
JOBS ?= auto
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# In pip's own build environment, a new folder each time, CMake would find other tools and compile everything again.
INSTALL := $(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable
SOURCES := pyproject.toml constraints.txt $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name 'CMakeLists.txt')

.PHONY: sample test examples lint sanitize docs reliability cards proof gpu-check clean

sample: $(VENV)/.installed
	$(BIN)/genfuse sample --output samples.png $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses $(JOBS) $(ARGS)

examples: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/embed/test_examples.py $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.cpp' '*.cu' '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

sanitize: $(VENV)/.installed-test
	PYTHON=$(CURDIR)/$(BIN)/python tests/csrc/sanitize.sh --numprocesses $(JOBS) $(ARGS)

# The pages, built strictly: a link, an anchor or a name that is not there fails. They lie in build/docs.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/docs
	@echo "docs: build/docs/index.html"

# What docs/reliability.md tells of, measured again: SECONDS_EACH for each that counts by time, TIMES for each that counts kills.
# The fuzzers of the C interface need clang; `tests/csrc/fuzz/run.sh ... afl` takes AFL++.
SECONDS_EACH ?= 600
TIMES ?= 1000
reliability: $(VENV)/.installed-test
	$(BIN)/python tests/reliability/fuzzed_calls.py --seconds $(SECONDS_EACH)
	$(BIN)/python tests/reliability/killed_writes.py --times $(TIMES)
	$(BIN)/python tests/reliability/sampling_threads.py --seconds $(SECONDS_EACH)
	$(BIN)/python tests/reliability/other_runtimes.py
	tests/csrc/fuzz/run.sh sampler build/fuzz $(SECONDS_EACH)
	tests/csrc/fuzz/run.sh network build/fuzz $(SECONDS_EACH)

cards: $(VENV)/.installed-test
	$(BIN)/python -m genfuse_bench.cards $(ARGS)

# Every case of every grid, not the rotating sample that `make test` takes, of each test file that changed, or what it depends
# on, since it was proven; writes what it found, and of which commit, to bench/results/proof.json.
proof: $(VENV)/.installed-test
	$(BIN)/python -m genfuse_bench.proof $(ARGS)

# For a machine with a GPU: the suite on it, compute-sanitizer where it is installed, the benches against their peers;
# results in bench/results/<device>. What compiles CUDA is installed beside a PyTorch built for it.
# `make gpu-check ARGS="--device cpu --quick"` rehearses it without a GPU.
gpu-check: $(VENV)/.installed-test
	$(INSTALL) ".[test$$($(BIN)/python -c 'import torch; from genfuse import env; print(torch.version.cuda and "," + env.cuda_extra() or "")')]"
	$(BIN)/python -m genfuse_bench.gpu_check $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "genfuse needs Python 3.10 or newer, this is " + sys.version)'
	@for compiler in "$$CXX" c++ g++ clang++; do command -v "$$compiler" > /dev/null && exit 0; done; \
	 echo "genfuse compiles its CPU kernels and found no C++17 compiler: install one (g++ or clang++), or name it: make CXX=... " >&2; exit 1
	$(PYTHON) -m venv $(VENV)

# PyTorch first and alone, so that its index can be chosen and a build that is already here is kept.
$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	@if [ -n "$(TORCH_INDEX)" ]; then echo "Installing PyTorch ($$(grep torch constraints.txt)) from $(TORCH_INDEX)"; \
	else echo "Installing PyTorch ($$(grep torch constraints.txt)) from pip's default index. On Linux that index usually serves the"; \
	     echo "CUDA build: several GB. For a CPU build of about 200 MB stop now and run: make TORCH_INDEX=<index of CPU builds> $(MAKECMDGOALS)"; fi
	$(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

# What pyproject.toml's [build-system] requires, and what scikit-build-core would add.
$(VENV)/.build-tools: pyproject.toml | $(VENV)/.torch
	$(PIP) install --quiet --constraint constraints.txt 'scikit-build-core>=0.11' 'pybind11>=2.13' 'cmake>=3.18' ninja
	@touch $@

$(VENV)/.installed: $(SOURCES) | $(VENV)/.build-tools
	@echo "Installing genfuse: building the CPU kernels, downloading about 30 MB of Python packages"
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(SOURCES) | $(VENV)/.build-tools
	@echo "Installing genfuse with its test dependencies: about 500 MB of Python packages (triton is 40 % of it)"
	$(INSTALL) '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf build $(VENV) samples.png
