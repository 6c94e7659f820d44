# Everything a newcomer needs; `make help` lists it.
PYTHON ?= python3
STUDY ?= params/tour.yaml
# run the study on another base, a name in params/bases, instead of its own
BASE ?=
CORES ?= 2
# numbers of passages for `make scale`; the largest takes most of an hour and 15 GB of disk
SIZES ?= 10k,30k,100k,300k,1M,3M,8.8M
# 1: fork nodes from a process that has imported already (Linux); 0: start every node afresh
NURSERY ?= 1
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# what every target needs; `make ... READY=` takes the environment that is active instead
READY ?= $(VENV)/.ready
# the lock alone says what is installed: each file has one of the hashes listed for it, and nothing is fetched to build it
LOCKED := --quiet --require-hashes --no-deps --no-build-isolation
# succeeds where the environment has PyTorch's build for CUDA
FOR_CUDA = $(BIN)/python -c 'from importlib.metadata import requires; exit(not any("nvidia" in need for need in requires("torch")))' 2>/dev/null
export PATH := $(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false

.PHONY: help study test lint all-tests unit notebooks-test browser end-to-end zoo fuzz faults test-slurm lab plan check notebooks lock bench bench-short bench-setup bench-gpu scale tables docs clean

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo "  variables: STUDY=$(STUDY) CORES=$(CORES) PYTHON=$(PYTHON)"

study: $(READY)  ## run a study (STUDY=params/x.yaml BASE=name CORES=2 NURSERY=1) and print where its report is
	@RD_ENDS_WITH=$$PPID python -m rd_utils run $(STUDY) --base '$(BASE)' --cores $(CORES) $(if $(filter 0,$(NURSERY)),--plain)

# tests without a network and with one thread each, a file of them on each core; tests/conftest.py says which files go first
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 pytest -q
SIDE_BY_SIDE := -n $(CORES) --dist loadfile --no-loadscope-reorder
NBVAL := --nbval-lax --nbval-kernel-name python3 --nbval-cell-timeout 300 --ignore-glob='notebooks/lessons/[0-9]*'  # readers' are not solved
UNIT := tests/unit tests/notebooks tests/zoo tests/fuzz tests/faults rd_utils benchmarks/harness.py benchmarks/roofline.py benchmarks/gpu.py
AWAY := d=$$(mktemp -d); trap "rm -rf $$d" EXIT; RD_OUTPUTS=$$d

test: $(READY)  ## all that follows in one run: lint, unit tests and doctests, nbval, and the smallest study end to end
	@$(MAKE) --no-print-directory --jobs 2 lint all-tests

all-tests: $(READY)
	$(AWAY) $(PYTEST) $(SIDE_BY_SIDE) $(NBVAL) -m 'not slurm' $(UNIT) notebooks tests/integration

lint: $(READY)  ## ruff over code, tests and notebooks, and pyright's checks of types over the package
	ruff check .
	basedpyright

unit: $(READY)  ## unit tests and doctests
	$(PYTEST) $(SIDE_BY_SIDE) -p no:nbval $(UNIT)

notebooks-test: $(READY)  ## run every notebook and compare its checked cells (nbval)
	$(AWAY) $(PYTEST) $(SIDE_BY_SIDE) $(NBVAL) notebooks

browser: $(READY)  ## open and run every notebook in a real JupyterLab, in the system's Chromium; `make test` runs the quick ones alone
	RD_BROWSER=all $(PYTEST) tests/notebooks/test_browser.py

zoo: $(READY)  ## tiny models of ten families, with every pooling, module, prompt and limit, against their own library (15 minutes)
	RD_ZOO=all $(PYTEST) -s -o addopts= tests/zoo

fuzz: $(READY)  ## 10,000 spoilt files and as many spoilt studies, parameters and options (an hour; RD_FUZZ=100000 for more)
	RD_FUZZ=$${RD_FUZZ:-10000} $(PYTEST) -s -o addopts= -o timeout=0 tests/fuzz

faults: $(READY)  ## kill, damage, fill the disk of and compete with small studies, 740 times (25 minutes; RD_FAULTS_SEED=1 for others)
	HF_HUB_OFFLINE=1 RD_FAULTS=all pytest -q -s -o addopts= tests/faults

end-to-end: $(READY)  ## the smallest study through papermill and snakemake, and the real-collection path where its data is there
	$(PYTEST) $(SIDE_BY_SIDE) -m 'not slurm' tests/integration

test-slurm: $(READY)  ## a study through a real Slurm, one of this machine's own where there is none (as root, on Debian)
	python -m pip install $(LOCKED) --requirement locks/cluster.txt
	HF_HUB_OFFLINE=1 pytest -q -s tests/integration/test_slurm.py

lab: $(READY)  ## JupyterLab on a copy of the notebooks that is yours to change, for this machine alone and with its token
	@python -m rd_utils lab

plan: $(READY)  ## print a study's cells, what is done, and what is left
	@python -m rd_utils plan $(STUDY) --base '$(BASE)'

check: $(READY)  ## validate a study file
	@python -m rd_utils check $(STUDY) --base '$(BASE)'

notebooks: $(READY)  ## execute the notebooks in place on their defaults, as they are committed
	d=$$(mktemp -d); trap "rm -rf $$d" EXIT; OMP_NUM_THREADS=1 RD_OUTPUTS=$$d python -m rd_utils execute
	python -m rd_utils.lessons

scale: $(READY)  ## how time and memory grow with the collection, drawn to docs/scale.svg; goes on where it was (SIZES=10k,30k,...,8.8M)
	OMP_NUM_THREADS=$(CORES) python -m benchmarks.scale run --sizes $(SIZES)
	python -m benchmarks.scale chart

tables: $(READY)  ## write the tables and numbers of README.md and docs/ from their data
	@python -m docs.tables

docs: $(READY)  ## build the documentation as a site, with pages, notebooks and API, into outputs/site; needs no network
	@OMP_NUM_THREADS=1 python -m docs.website

lock: $(READY)  ## write constraints.txt and locks/ from what is installed (needs a network)
	d=$$(mktemp -d); trap "rm -rf $$d" EXIT; python -m venv $$d && $$d/bin/python -m pip install --quiet uv && PATH=$$PATH:$$d/bin python -m rd_utils lock

bench: bench-setup  ## compare with the peers, row by row (40 minutes; nothing else should run meanwhile)
	@python -m benchmarks

bench-short: bench-setup  ## the same with little work and one repeat: shows that every row runs, measures little (5 minutes)
	@python -m benchmarks --short

bench-gpu: $(READY)  ## what is measured where there is a GPU: training and scoring at BERT's size (10 minutes)
	@python -m benchmarks.gpu

bench-setup: $(READY)  ## install the peers of the benchmark, and who reads exports, into environments of their own, under benchmarks/.peers
	@python -m benchmarks setup

clean:  ## delete the environment (outputs stay)
	rm -rf $(VENV) .snakemake

$(VENV)/.ready: pyproject.toml $(wildcard constraints.txt locks/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, found " + sys.version.split()[0] + "; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(LOCKED) --requirement locks/build.txt
	@$(FOR_CUDA) || $(BIN)/python -m pip install $(LOCKED) --requirement locks/cpu.txt 2>/dev/null || \
		echo "pip finds no build of PyTorch for CPUs: the index's comes, with CUDA on Linux"
	$(BIN)/python -m pip install $(LOCKED) --requirement constraints.txt
	@! $(FOR_CUDA) || $(BIN)/python -m pip install $(LOCKED) --requirement locks/cuda.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
