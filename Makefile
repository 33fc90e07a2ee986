# Every target sets itself up: .venv with the pinned dependencies is made on first use (scripts/setup.sh), and made again
# when pyproject.toml or constraints.txt change. Another Python: make test PYTHON=/path/to/python3.12

PY := .venv/bin/python
export PYTHON

.PHONY: help setup demo headline test slow lint
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv (the other targets do it by themselves)
	@scripts/setup.sh

demo: setup ## the headline experiment, small: table, verdict and figures under runs/demo
	@$(PY) scripts/sweep.py demo

headline: setup ## the headline experiment at full size, 20 seeds × 256 levels; stop it when you like, it goes on
	@$(PY) scripts/sweep.py withheld

test: setup ## all tests but the slow ones, two at a time
	@$(PY) -m pytest -q -n 2 --max-worker-restart 0

slow: setup ## the tests that take minutes each
	@$(PY) -m pytest -q -m slow

lint: setup ## ruff (rules and format) and mypy
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
