# make demo: install, train a DiffEnc on 8x8 digits, evaluate it and draw samples.
# make test: install and run the tests. make test-library: those of the library, without the lab. make lint: style and
# types only.
# make docs: serve the documentation on localhost. make site: build it into build/site, to be opened from disk.
# make notebook: run docs/digits.ipynb and save it with its outputs, which the site shows.
# make lock: pin the requirements of pyproject.toml in requirements/.
PYTHON ?= python3
BIN := .venv/bin
# Where this is set, each process compiles all that it imports once more: 2 s for JAX, and tests start many processes.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-library test-slow soak docs site notebook lint format lock clean

demo: .venv/installed
	$(BIN)/diffenc train --config=digits:diffenc-pooled-fast

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow and not soak"

# The tests of the library: those of the lab, the examples, the launchers, the benchmarks and the documentation are left
# out.
OTHERS = lab examples launch test_accelerator.py test_benchmarks.py test_results.py test_documents.py
test-library: .venv/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow and not soak" $(OTHERS:%=--ignore=tests/%)

# SLOW='slow and not long' leaves out the tests that take several minutes each. Those of the GPU compiler are skipped
# without `make .venv/gpu`.
SLOW ?= slow
test-slow: .venv/installed-docs .venv/tpu
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "$(SLOW)"

# Kills, faults and 50,000 steps: half an hour.
soak: .venv/installed-test
	$(BIN)/python -m pytest -s -m soak

# Without the variable, Material for MkDocs prints a notice of its successor.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/installed-docs
	$(BIN)/mkdocs serve

site: export NO_MKDOCS_2_WARNING = 1
site: .venv/installed-docs
	$(BIN)/mkdocs build

notebook: .venv/installed-test
	$(BIN)/python docs/site/notebooks.py docs/digits.ipynb

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each file pins everything that an installation needs, for every Python version and platform, at the versions that
# lock.txt pins. Pinned versions stay where they satisfy pyproject.toml; LOCK=--upgrade replaces them by the newest,
# LOCK=--upgrade-package=jax those of one package.
LOCK ?=
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version=3.11 --no-annotate \
    --custom-compile-command="make lock" $(LOCK)
lock: .venv/created
	$(COMPILE) --output-file=requirements/lock.txt
	for extra in tpu cuda test; do \
	    $(COMPILE) --extra=$$extra --constraints=requirements/lock.txt \
	        --output-file=requirements/lock-$$extra.txt || exit 1; \
	done
	$(COMPILE) --extra=docs --constraints=requirements/lock-test.txt --output-file=requirements/lock-docs.txt

# uv installs about five times as fast as pip, which serves where uv cannot be installed.
INSTALL = if [ -x $(BIN)/uv ]; then VIRTUAL_ENV=.venv $(BIN)/uv pip install $(1); else $(BIN)/pip install $(1); fi

.venv/created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed, this is %d.%d; run make PYTHON=python3.12" % v[:2])'
	@echo "Installing into .venv, about 3 GB"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv || echo "uv cannot be installed; pip takes a few minutes"
	touch $@

.venv/installed: .venv/created pyproject.toml setup.py requirements/lock.txt
	$(call INSTALL,-r requirements/lock.txt -e .)
	touch $@

.venv/installed-test: .venv/created pyproject.toml setup.py requirements/lock-test.txt
	$(call INSTALL,-r requirements/lock-test.txt -e '.[test]')
	touch .venv/installed $@

.venv/installed-docs: .venv/installed-test requirements/lock-docs.txt
	$(call INSTALL,-r requirements/lock-docs.txt -e '.[docs]')
	touch $@

# The TPU compiler, for tests, is kept apart: wherever JAX finds it, it searches for a TPU at every start.
.venv/tpu: .venv/installed-test requirements/lock-tpu.txt
ifeq ($(shell uname -sm),Linux x86_64)
	$(call INSTALL,--no-deps --target=$@ --upgrade --constraint=requirements/lock-tpu.txt libtpu)
endif

# The GPU compiler, 4 GB, with which compile-check and its tests compile for NVIDIA cards: only where it is asked for.
.venv/gpu: .venv/installed-test requirements/lock-cuda.txt
ifeq ($(shell uname -sm),Linux x86_64)
	grep -E '^(jax-cuda|nvidia-)' requirements/lock-cuda.txt >$@.txt
	$(call INSTALL,--no-deps --target=$@ --upgrade -r $@.txt)
endif

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
