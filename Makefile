# Two commands matter: `make demo` compares the chapter's schedules and tells the end of a run from a part of its log, `make test`
# runs the tests; `make test-all` the slow ones, too.
PYTHON ?= python3
PYTHON311 ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-all setup lint docs benchmark clean setup-vision setup-dialects setup-trackers setup-mxnet test-mxnet setup-paddle test-paddle

# torch alone first: with its version pinned pip takes the CPU build where one is at hand, and nothing later may choose another.
$(VENV)/.core: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("laju needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)"
	$(PIP) install --quiet --constraint constraints.txt --editable '.[lab]'
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/laju compare chapter --seeds 8
	@echo
	@echo "A language model's run, told from its first quarter and from a run of an eighth of its length:"
	@echo
	$(BIN)/laju advise docs/forecast/long.csv --until 10000 --schedule 'cosine(3e-3, total=40000, warmup=200)' \
		--prior docs/forecast/short.csv --out laju-report/forecast.png

setup: $(VENV)/.dev

export LAJU_VISION := $(CURDIR)/.vision
export LAJU_DIALECTS := $(CURDIR)/.dialects
export LAJU_TRACKERS := $(CURDIR)/.trackers

# Two processes, since many tests wait; PYTEST= runs them in this one. Each has one thread: threads of several processes that wait for
# one another's cores make small models up to six times slower.
PYTEST ?= --numprocesses 2
test test-all test-mxnet test-paddle: export OMP_NUM_THREADS ?= 1

test: setup setup-vision setup-dialects setup-trackers
	$(BIN)/python -m pytest -m "not slow" $(PYTEST)

test-all: setup setup-vision setup-dialects setup-trackers
	$(BIN)/python -m pytest $(PYTEST)

# The systems whose schedulers the dialects are checked against, in a folder of their own and without what they require: several
# ask for other versions of torch, or for packages that none of their schedulers needs.
.dialects/.ready: constraints-dialects.txt | $(VENV)/.dev
	DS_BUILD_OPS=0 $(PIP) install --quiet --no-deps --no-build-isolation --upgrade --target .dialects --requirement constraints-dialects.txt
	touch $@

setup-dialects: .dialects/.ready

# W&B, MLflow and trackio, likewise: two of them ask for older versions of what is pinned.
.trackers/.ready: constraints-trackers.txt | $(VENV)/.dev
	$(PIP) install --quiet --no-deps --upgrade --target .trackers --requirement constraints-trackers.txt
	touch $@

setup-trackers: .trackers/.ready

.vision/.ready: constraints-vision.txt | $(VENV)/.core
	$(PIP) install --quiet --no-deps --upgrade --target .vision --requirement constraints-vision.txt
	touch $@

setup-vision: .vision/.ready

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Frameworks that need an environment of their own: MXNet an old NumPy, PaddlePaddle other pins.
CORE_TESTS := $(addprefix tests/test_,adaptive.py algebra.py conformance.py exactness.py horizon.py inspect.py schema.py spec.py trace.py units.py)

.venv-%/.ready: constraints-%.txt pyproject.toml
	test -x .venv-$*/bin/python || $(PYTHON311) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement constraints-$*.txt
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	touch $@

setup-mxnet: .venv-mxnet/.ready
setup-paddle: .venv-paddle/.ready

test-mxnet: setup-mxnet
	.venv-mxnet/bin/python -m pytest tests/frameworks/test_mxnet.py tests/dialects/test_mxnet.py tests/dialects/test_gluoncv.py tests/test_readme.py $(CORE_TESTS)

test-paddle: setup-paddle
	.venv-paddle/bin/python -m pytest tests/frameworks/test_paddle.py tests/dialects/test_paddle.py tests/test_trace.py

benchmark: setup setup-vision
	for file in $(filter-out benchmarks/language_model.py benchmarks/race_grids.py benchmarks/averaging.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file; done

clean:
	rm -rf $(VENV) .vision .dialects .trackers .venv-mxnet .venv-paddle site laju.sqlite laju-report
