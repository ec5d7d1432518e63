# make demo    environment, data, training, report: minutes on two cores
# make demo-swarm    four networks that learn from each other, with a live page
# make test    everything that continuous integration runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo demo-swarm test test-newest test-backends lint unit integration browser slow clean help

help:
	@echo "make demo         train on rendered videos and open-able report, from nothing"
	@echo "make demo-swarm   train four networks that learn from each other, with a live page"
	@echo "make test         lint, unit, integration, browser and a few slow tests"
	@echo "make test-newest  the tests on the newest TensorFlow and Keras, in an environment of their own"
	@echo "make test-backends  the tests of training on JAX and PyTorch, in an environment of their own"
	@echo "make clean        remove environments and caches (never runs/ or datasets/)"

$(VENV)/.core: setup.cfg requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e .
	touch $@

$(VENV)/.full: setup.cfg requirements.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[dev,wandb]"
	touch $@

demo: $(VENV)/.core
	$(BIN)/python train.py --config configs/quickstart.yaml
	@echo "next: make demo-swarm trains four networks that learn from each other, with a live page"

demo-swarm: $(VENV)/.core
	$(BIN)/python swarm_server.py --config configs/swarm/quickstart.yaml --particles 4

test: lint unit integration browser slow

lint: $(VENV)/.full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Most unit tests keep one core busy. A file stays in one process, and each process takes about 1 GB.
unit: $(VENV)/.full
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m "not slow and not integration and not browser"

integration: $(VENV)/.full
	$(BIN)/python -m pytest -m "integration and not slow"

browser: $(VENV)/.full
	$(BIN)/python -m pytest -m "browser and not slow"

slow: $(VENV)/.full
	$(BIN)/python -m pytest -m "slow and ci"

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
	.venv-backends/bin/python -m pytest -m "not browser" tests/models/test_backends.py tests/training/test_backends.py tests/data/test_pipeline_fit.py

clean:
	rm -rf .venv .venv-newest .venv-backends build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
