# make report | test | gpu | lab | notebooks | clean.  Every target makes its own .venv from pyproject.toml first.

PYTHON ?= python3
VENV ?= .venv
# The versions that were tested.  CONSTRAINTS= (empty) takes whatever pip finds, another PyTorch build for example.
CONSTRAINTS ?= constraints.txt

MODEL ?= demo
TASK ?= lambada_demo
MODES ?=
LIMIT ?= 100
OUTPUT ?= reports
# More options of `quamba-lab report`, for example ARGS="--lang zh --device cuda".
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.DEFAULT_GOAL := help
.PHONY: help report test gpu lab notebooks example images clean

help:
	@echo "make report   run the workbook on the shipped model and write $(OUTPUT)/index.html"
	@echo "              make report MODES=\"0 2-1\" LIMIT=40 MODEL=folder TASK=file.jsonl OUTPUT=folder"
	@echo "make test     everything that CI runs: lint, tests, kernels, notebooks, browser"
	@echo "make gpu      on a machine with a GPU: its tests, compute-sanitizer and benchmarks, into $(OUTPUT)/gpu"
	@echo "make lab      JupyterLab on the notebooks"
	@echo "make notebooks  write notebooks/*.ipynb from their text twins in notebooks/text"
	@echo "make example  docs/example-report, from the report in $(OUTPUT); make images: the README's pictures, from it"
	@echo "make clean    remove $(VENV) and $(OUTPUT)"

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than Python 3.10: name a newer one, make PYTHON=python3.11" >&2; exit 2; }
	@echo "Making $(VENV) and installing quamba_lab there (a few minutes: PyTorch is large; nothing else is changed) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "Installing the test tools into $(VENV) ..."
	@$(PIP) -e '.[test]'
	@touch $@

report: $(VENV)/.ready
	@$(BIN)/quamba-lab report --model "$(MODEL)" --task "$(TASK)" $(if $(MODES),--modes $(MODES)) \
	  --limit $(LIMIT) --output "$(OUTPUT)" $(ARGS)

lab: $(VENV)/.ready
	@$(BIN)/jupyter lab --notebook-dir=notebooks

test: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/python -m tools.pair_notebooks --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not gpu and not browser and not notebooks'
	$(BIN)/python -m pytest -q -n 2 -m 'notebooks and not gpu'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --nbmake --nbmake-timeout=600 notebooks
	$(BIN)/python -m pytest -q -m 'browser and not gpu'

gpu: $(VENV)/.ready-test
	@$(PIP) -e '.[gpu]'
	@PYTHON=$(BIN)/python tools/gpu_checks.sh "$(OUTPUT)/gpu"

notebooks: $(VENV)/.ready-test
	@$(BIN)/python -m tools.pair_notebooks

images: $(VENV)/.ready-test
	@$(BIN)/python -m tools.take_pictures docs/example-report docs/images

example: $(VENV)/.ready
	@$(BIN)/python -m tools.example_report $(OUTPUT) docs/example-report

clean:
	rm -rf $(VENV) "$(OUTPUT)"
