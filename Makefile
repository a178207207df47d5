# Each target sets up .venv by itself; that takes minutes the first time and no time after.
PYTHON ?= python3
VENV := .venv/bin
# Without compiled files each process takes eight seconds to import; they are kept in .venv.
export PYTHONDONTWRITEBYTECODE :=
# What most laptops have: torch, oneDNN and MKL leave a newer processor's instructions unused.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
.DEFAULT_GOAL := help
.PHONY: help env book book-avx2 serve test tests test-avx2 coverage slow lint train bench check-site check-embedded lab lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## Set up .venv (every other target does it too)
	@$(PYTHON) tools/bootstrap.py

book: env ## Execute the chapters that changed and build the site
	@$(VENV)/armsrace build

book-avx2: env ## Build the book and check the ledger as on a processor without AVX-512
	@$(AVX2) $(VENV)/armsrace build
	@$(AVX2) $(VENV)/armsrace ledger check

serve: env ## Build the site and open it in a browser
	@$(VENV)/armsrace build
	@$(VENV)/armsrace serve

lab: env ## Open the chapters as notebooks in JupyterLab
	@$(VENV)/python -m jupyter lab chapters

test: env ## Check the code and run the tests
	@$(MAKE) --no-print-directory --jobs 2 lint tests

tests: env
	@$(VENV)/python -m pytest -n 2 --dist worksteal

test-avx2: env book-avx2 ## Run tests, book and ledger as on a processor without AVX-512
	@$(AVX2) $(VENV)/python -m pytest -n 2 --dist worksteal

coverage: env ## Run all tests of the library and print the lines that none of them runs
	@$(VENV)/python -m pytest -n 2 --dist worksteal -m "not network and not site and not embedded" \
		--cov --cov-report=term

slow: env ## Run the tests that take long
	@$(VENV)/python -m pytest -n 2 --dist worksteal -m slow

lint: env ## Check style and types
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check --quiet .
	@$(VENV)/codespell
	@$(VENV)/mypy

train: env ## Train every network of the zoo again (resumes after an interruption)
	@$(VENV)/armsrace train --all --resume

bench: env ## Time the attacks against other libraries, the latent search against the plain one
	@$(VENV)/python benchmarks/searches.py
	@$(VENV)/python benchmarks/inversion.py manifold-vae defense-gan
	@$(VENV)/python benchmarks/attacks.py --keep

check-site: env ## Open every built page in a real browser without network
	@$(VENV)/python -m pytest -n 2 --dist worksteal -m site tests/site

check-embedded: env ## Build the site offline on the embedded data alone and open its pages
	@$(VENV)/python -m pytest -m embedded tests/site/test_embedded_site.py

lock: env ## Write requirements.lock from what .venv holds
	@$(VENV)/python tools/lock.py

clean: ## Remove all that was built, but neither .venv nor data
	@rm -rf _build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
