# make demo   install and run the main job        make check  what CI runs: format, lint, types, quick tests
# make test   install and run all tests           make bench  speed and memory, as ratios within one run
# make docs   the pages as a site in site/
# make chaos  failures of real processes, half an hour
# make image  the container image, and a federation and a register in it; by root, ten minutes
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Two files of tests at a time: most of them are small networks on one thread. Not those with most tests first, as
# xdist would: tests/conftest.py puts those first that take longest, of which some have one test.
TESTS := $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# An empty value lets Python keep byte code, which containers often forbid. uv compiles nothing as it installs, and
# each process would compile torch anew: 20 s of a processor in place of 7 for a command, and tests start dozens.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check bench chaos docs image clean

demo: $(STAMP)
	$(RUN) -m scripts.simulate experiment=quickstart

test: $(STAMP)
	$(TESTS)

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(TESTS) -m "not slow and not chaos"

bench: $(STAMP)
	$(RUN) -m scripts.bench

# The variable keeps a note about another program out of the output, which has no other lines when all is well.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

chaos: $(STAMP)
	$(RUN) -m pytest -m chaos tests/chaos

image:
	.ci/image

# uv takes seconds where pip takes minutes for torch; without uv, pip does it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be had, going on with pip"
	if $(VENV)/bin/uv --version >/dev/null 2>&1; then \
		VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install --quiet -c constraints.txt -e '.[dev]'; \
	else \
		$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	touch $(STAMP)

clean:
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache
