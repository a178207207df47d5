# Each target sets up .venv by itself; that takes minutes the first time and no time after.
PYTHON ?= python3
VENV := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help env book serve test slow lint train bench check-site lab lock clean
.PHONY: check-embedded

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## Set up .venv (every other target does it too)
	@$(PYTHON) tools/bootstrap.py

book: env ## Execute the chapters that changed and build the site
	@$(VENV)/armsrace build

serve: env ## Build the site and open it in a browser
	@$(VENV)/armsrace build
	@$(VENV)/armsrace serve

lab: env ## Open the chapters as notebooks in JupyterLab
	@$(VENV)/python -m jupyter lab chapters

test: env lint ## Check the code and run the tests
	@$(VENV)/python -m pytest -n 2

slow: env ## Run the tests that take long
	@$(VENV)/python -m pytest -m slow

lint: env ## Check style and types
	@$(VENV)/ruff check .
	@$(VENV)/mypy

train: env ## Train every network of the zoo anew (resumes after an interruption)
	@$(VENV)/armsrace train --all --resume

bench: env ## Time the attacks against other libraries, the latent search against the plain one
	@$(VENV)/python benchmarks/attacks.py
	@$(VENV)/python benchmarks/searches.py
	@$(VENV)/python benchmarks/inversion.py manifold-vae defense-gan

check-site: env ## Open every built page in a real browser without network
	@$(VENV)/python -m pytest -m site tests/site

check-embedded: env ## Build the site offline on the embedded data alone and open its pages
	@$(VENV)/python -m pytest -m embedded tests/site/test_embedded.py

lock: env ## Write requirements.lock from what .venv holds
	@$(VENV)/python tools/lock.py

clean: ## Remove all that was built, but neither .venv nor data
	@rm -rf _build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
