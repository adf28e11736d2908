# Every target makes what it needs first: `make corpus` on a fresh clone sets up .venv, draws data and builds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# make corpus ROOT=/data/raw SOURCES=celeba,vggface2 OUT=/data/corpus [RECIPE=face9m] [WORKERS=8]
# Without ROOT the sources are drawn; those that are recordings make a corpus of their own (recipe au).
RECORDED := aff_wild2 bp4d bp4d_plus casme2 disfa disfa_plus gft
comma := ,
some := $(if $(SOURCES),-$(firstword $(shell printf '%s' '$(SOURCES)' | cksum)))
ROOT ?= build/drawn$(some)
drawn := $(filter build/drawn%,$(ROOT))
OUT ?= build/corpus$(if $(drawn),$(some))
RECIPE ?= $(if $(drawn),$(if $(filter $(RECORDED),$(subst $(comma), ,$(SOURCES))),au,sample))
WORKERS ?=
options = $(if $(SOURCES),--sources '$(SOURCES)') $(if $(RECIPE),--recipe $(RECIPE)) $(if $(WORKERS),--workers $(WORKERS))

.DEFAULT_GOAL := help
.PHONY: help setup corpus pretrain finetune test test-slow check format bench clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The corpus side alone: no torch, some 20 s.
$(VENV)/core: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c requirements.lock -e .
	@touch $@

# Everything, for the tests and for training: torch included.
$(VENV)/full: $(VENV)/core
	$(PIP) install --quiet -c requirements.lock -e '.[resnet50,train,dev]'
	$(PIP) install --quiet --no-deps retinaface-pytorch==0.0.8
	@touch $@

setup: $(VENV)/full  ## Make .venv with everything in it

build/drawn$(some)/truth.jsonl: $(VENV)/core
	$(BIN)/facecorpus synth --out $(@D) $(if $(SOURCES),--sources '$(SOURCES)')

corpus: $(VENV)/core $(if $(drawn),$(ROOT)/truth.jsonl)  ## Build and verify a corpus (ROOT=, SOURCES=, OUT=, RECIPE=, WORKERS=); without ROOT from drawn people
	$(BIN)/facecorpus build --root '$(ROOT)' --out '$(OUT)' $(options)
	$(if $(drawn),$(BIN)/facecorpus synth --out $(ROOT) --check '$(OUT)')

build/corpus/verified.json:
	$(MAKE) corpus

pretrain: $(VENV)/full build/corpus/verified.json  ## Pretrain the tiny model on the drawn corpus, some minutes on a CPU
	$(BIN)/fautrain pretrain --shards build/corpus --recipe tiny --out build/pretrain
	$(BIN)/fautrain report build/pretrain

build/pretrain/report.html:
	$(MAKE) pretrain

build/disfa/verified.json: $(VENV)/core
	$(BIN)/facecorpus synth --sources disfa --out build/recordings
	$(BIN)/facecorpus build --sources disfa --root build/recordings --out build/disfa

finetune: $(VENV)/full build/pretrain/report.html build/disfa/verified.json  ## Fine-tune it for action units on a drawn DISFA, some minutes on a CPU
	$(BIN)/fautrain finetune --dataset disfa --recipe tiny --init build/pretrain --fold 1

check: $(VENV)/full  ## Format check, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check  ## Run the checks and the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m 'not slow'

test-slow: $(VENV)/full  ## Run the tests that take minutes
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m slow

format: $(VENV)/full  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/full  ## Measure the build on real photographs if FACE_REAL_DATA is set, else on drawn ones
	$(BIN)/python tools/bench_corpus.py

clean:  ## Remove what was built (not .venv)
	rm -rf build
