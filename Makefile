# make demo   install into .venv and clean a scan with the real daemon
# make test   install what tests need and run the whole gate: ruff, mypy, import-linter, pytest
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LAMA_CLEANER := lama-cleaner==1.2.5

.PHONY: demo test gate install install-dev system-packages test-packages bench clean

demo: install
	$(BIN)/spotlessd demo "$$(mktemp -d)/station"

test: install-dev gate

gate:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

bench: install-dev
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

# libturbojpeg0 writes JPEG scans without re-encoding them; libgl1 and libglib2.0-0 are what OpenCV links to.
system-packages:
	@sh systemd/install-packages.sh

# exiftool and libtiff's programs are what tests compare with.
test-packages:
	@sh systemd/install-packages.sh tests

$(VENV)/bin/python:
	@# Debian's python3 has no venv without python3-venv: virtualenv does the same from pip.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --user --break-system-packages virtualenv && $(PYTHON) -m virtualenv --quiet $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade pip

# lama-cleaner without its dependencies: README, "big-lama".
$(VENV)/installed: pyproject.toml | $(VENV)/bin/python system-packages
	$(BIN)/python -m pip install --quiet -e ".[lama,demo]"
	$(BIN)/python -m pip install --quiet --no-deps $(LAMA_CLEANER)
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python test-packages
	$(BIN)/python -m pip install --quiet -e ".[dev,demo]"
	$(BIN)/python -m pip install --quiet --no-deps $(LAMA_CLEANER)
	@touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
