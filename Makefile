# Every target creates .venv where it is missing, so each works on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo smollm2 docs test check format clean help

install: .venv/installed  ## the package and its development tools, in .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed  ## run the demo study; its report is runs/demo/report.html
	$(BIN)/ethosteer run demo

smollm2: .venv/installed  ## fetch a chat model and run its study; DATA=folder for local data files
	$(BIN)/ethosteer fetch smollm2
	$(BIN)/ethosteer run smollm2 $(if $(DATA),--data-dir $(DATA))

NOTEBOOKS := $(notdir $(wildcard docs/notebooks/*.ipynb))

docs: .venv/installed $(NOTEBOOKS:%=build/notebooks/%)  ## execute the notebooks and build the site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

build/notebooks/%.ipynb: docs/notebooks/%.ipynb .venv/installed
	$(BIN)/python scripts/execute_notebooks.py build/notebooks $<

test: .venv/installed check  ## ruff, mypy and all tests
	$(BIN)/python -m pytest

check: .venv/installed  ## ruff and mypy; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed  ## format the code and apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

help:  ## list the targets
	@grep -hE '^[a-z0-9]+:.*  ## ' $(MAKEFILE_LIST) | sed 's/:.*  ## /: /'

clean:  ## remove everything that make and the tools created
	rm -rf .venv runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
