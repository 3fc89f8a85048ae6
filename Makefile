# `make demo` and `make test` are all that a newcomer needs; `make` alone lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(or $(wildcard $(BIN)/python),python3)

# Named in every call of pip: alone, a dependency on torch would bring its newest build.
TORCH := $(shell grep '^torch==' constraints.txt)

# One stamp for each set of extras. Newer pins make them stale; otherwise repeating costs nothing.
FOR_DEMO := $(VENV)/.ready-for-demo
FOR_TEST := $(VENV)/.ready-for-test

RUN := runs/demo
SENTENCE := J'aime l'apprentissage automatique.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check format clean

help:
	@echo "make demo     train the small French-English model, score it, translate, draw (about 5 minutes)"
	@echo "make test     everything that CI runs: make check, then the tests"
	@echo "make check    format, lint, types and import floors"
	@echo "make format   rewrite the sources in the house format"
	@echo "make clean    remove $(VENV) and the caches; runs/ stays"

demo: $(FOR_DEMO)
	$(BIN)/pellucid train recipes/demo.yaml --out $(RUN)
	$(BIN)/pellucid evaluate $(RUN) --split test
	$(BIN)/pellucid evaluate $(RUN) --split compositional
	echo "$(SENTENCE)" | $(BIN)/pellucid translate $(RUN)
	$(BIN)/pellucid plot $(RUN) --attention "$(SENTENCE)" --out $(RUN)/attention.png
	@echo "$$EPILOGUE"

define EPILOGUE

Everything lies in $(RUN):
  model/           weights, configuration and tokenizer: all that translating needs
  curves.png       loss and scores while it learned; the numbers are in metrics.csv
  attention.png    where the model looked while it translated the sentence above
  samples.txt      the same sentences, translated after every validation

Three commands to try next:
  echo "La pizza est sortie du four et elle était bonne." | $(BIN)/pellucid translate $(RUN) --nbest 3
  $(BIN)/pellucid plot $(RUN) --attention "La voiture rouge est dans la rue." --head 0 --out $(RUN)/head-0.png
  $(BIN)/pellucid train recipes/demo-en-fr.yaml --out runs/demo-en-fr
endef
export EPILOGUE

# A process for each core and one thread in each: the models in the tests are tiny, threads would mostly wait for each other. Files
# stay whole, since their tests share models.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(FOR_TEST)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(FOR_TEST)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage htmlcov .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(FOR_DEMO): EXTRAS := plots
$(FOR_DEMO): constraints.txt pyproject.toml
	$(install)
	@touch $@

$(FOR_TEST): EXTRAS := plots,dev
$(FOR_TEST): constraints.txt pyproject.toml
	$(install)
	@touch $(FOR_DEMO) $@

NOT_FOUND := does not run; Python 3.11 or newer is needed (if $(VENV) is broken: make clean)

# pip takes a package for installed when it was interrupted just before the last file, RECORD: such a one is forgotten first.
define install
@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) $(NOT_FOUND)" >&2; exit 1; }
@$(PYTHON) scripts/check_machine.py $(VENV)
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
@find $(VENV)/lib -name '*.dist-info' ! -execdir test -e {}/RECORD \; -prune -exec rm -r {} +
$(BIN)/python -m pip install -c constraints.txt $(TORCH) -e ".[$(EXTRAS)]"
endef
