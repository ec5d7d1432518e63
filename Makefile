# make demo    environment, data, training, report: minutes on two cores
# make demo-swarm    four networks that learn from each other, with a live page
# make test    everything that continuous integration runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo demo-swarm test tests durations test-newest test-backends lint unit integration browser slow clean help
# Processes share the tests, file by file, the longest files first (tests/conftest.py); each process takes 1 to 6 GB.
# One that dies ends the session: pytest-xdist would wait for its last tests for ever.
SHARED := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

help:
	@echo "make demo         train on rendered videos and open-able report, from nothing"
	@echo "make demo-swarm   train four networks that learn from each other, with a live page"
	@echo "make test         lint, unit, integration, browser and a few slow tests"
	@echo "make durations    the same tests one by one, with what each file costs in seconds of CPU"
	@echo "make test-newest  the tests on the newest TensorFlow and Keras, in an environment of their own"
	@echo "make test-backends  the tests of training on JAX and PyTorch, in an environment of their own"
	@echo "make clean        remove environments and caches (never runs/ or datasets/)"

$(VENV)/.core: setup.cfg requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e .
	touch $@

# All at once: pip would else look through the same packages twice.
$(VENV)/.full: setup.cfg requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[dev,wandb]"
	touch $(VENV)/.core $@

demo: $(VENV)/.core
	$(BIN)/python train.py --config configs/quickstart.yaml
	@echo "next: make demo-swarm trains four networks that learn from each other, with a live page"

demo-swarm: $(VENV)/.core
	$(BIN)/python swarm_server.py --config configs/swarm/quickstart.yaml --particles 4

test: lint tests

lint: $(VENV)/.full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In one session: most tests keep one core busy, those that wait leave it to the others, and collecting takes 15 s.
tests: $(VENV)/.full
	$(BIN)/python -m pytest $(SHARED) -m "not slow or ci"

unit: $(VENV)/.full
	$(BIN)/python -m pytest $(SHARED) -m "not slow and not integration and not browser"

integration: $(VENV)/.full
	$(BIN)/python -m pytest $(SHARED) -m "integration and not slow"

browser: $(VENV)/.full
	$(BIN)/python -m pytest $(SHARED) -m "browser and not slow"

slow: $(VENV)/.full
	$(BIN)/python -m pytest $(SHARED) -m "slow and ci"

# What tests cost: one process, so that the seconds of CPU are those of the tests alone.
durations: $(VENV)/.full
	$(BIN)/python -m pytest -q -p tests.cpu_times --durations=40 -m "not slow or ci"

# The newest TensorFlow that setup.cfg accepts, without the pins: what depends on TensorFlow IO says why it is missing.
.venv-newest/.ready: setup.cfg
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e ".[dev,augment,wandb]"
	touch $@

test-newest: .venv-newest/.ready
	.venv-newest/bin/python -m pip list 2>/dev/null | grep -iE "^(tensorflow|keras|numpy) "
	.venv-newest/bin/python -m pytest -m "not slow and not browser"

# The same configurations on Keras' other backends.
.venv-backends/.ready: setup.cfg requirements.txt
	test -x .venv-backends/bin/python || $(PYTHON) -m venv .venv-backends
	.venv-backends/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e ".[dev,jax,torch]"
	touch $@

test-backends: .venv-backends/.ready
	.venv-backends/bin/python -m pytest -m "not browser" $(wildcard tests/*/test_*backends.py) tests/data/test_pipeline_fit.py

clean:
	rm -rf .venv .venv-newest .venv-backends build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
