# make demo: set up, train a DiffEnc on 8x8 digits, evaluate and sample it.
# make test: set up and run the tests. make fuzz: look for files that break the readers, a minute a reader.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow soak fuzz lint format clean

demo: .venv/installed
	$(BIN)/python -m diffenc_jax.main --config=configs/digits.py

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow and not soak"

# SLOW='slow and not long' leaves out what takes several minutes a test.
SLOW ?= slow
test-slow: .venv/installed-test .venv/tpu
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "$(SLOW)"

# Kills, faults and 50,000 steps: half an hour.
soak: .venv/installed-test
	$(BIN)/python -m pytest -s -m soak

# Feeds what reads others' files with ever new ones; what breaks it is kept in tests/fuzz/findings/.
FUZZ_SECONDS ?= 60
fuzz: .venv/installed-fuzz
	for target in npy npz npz_member idx pickle msgpack overrides; do \
	    $(BIN)/python tests/fuzz/fuzz_readers.py $$target --seconds=$(FUZZ_SECONDS) || exit 1; \
	done

lint: .venv/installed-test
	$(BIN)/ruff check .

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %d.%d; run make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv/installed-fuzz: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	touch $@

# The TPU compiler, for tests, lies apart: wherever JAX finds it, it looks for a TPU at every start.
.venv/tpu: .venv/installed-test
ifeq ($(shell uname -sm),Linux x86_64)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target=$@ --upgrade "$$($(BIN)/python -c \
	    'from importlib.metadata import requires; print(*[r.split(";")[0] for r in requires("jax") if "libtpu" in r])')"
endif

clean:
	rm -rf .venv
