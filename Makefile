# make demo | make app | make demo-full | make test | make docs | make lint | make package. Everything happens in .venv,
# which is made when needed; make test-torch TORCH=2.6.0 tests another PyTorch in an environment of its own.
# `make test-cuda` and `make gpu-report` alone take the interpreter that PYTHON names, and install nothing.
PYTHON ?= python3
VENV ?= .venv
SEEDS ?= 1
# Processes that run tests, each with one thread: more, of libraries that wait for one another by spinning, take twice
# the time.
WORKERS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.mmlocat-ready
DEV := $(VENV)/.mmlocat-dev
# Each process begins with its share of the tests, in their order: what a file sets up is set up once.
PYTEST := -m pytest -n $(WORKERS) --dist worksteal
TEST := OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

.PHONY: install install-dev demo demo-full demo-quick app docs test test-fast test-stamps test-soak test-torch test-openmmlab test-cuda gpu-report reliability lint package clean

install: $(READY)

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing mmlocat with PyTorch and the OneDL builds of OpenMMLab (some minutes, several GB) ..."
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[onedl,app]"
	touch $@

# What tests, lint, the documentation and packages need beside that.
install-dev: $(DEV)

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[onedl,dev]"
	touch $@

demo: install
	$(BIN)/python tools/demo.py --seeds $(SEEDS)

demo-full: install
	$(BIN)/python tools/demo.py --full --seeds 5 --work-dir work_dirs/demo-full

# Every step of the demo on a sliver of the data: proves that it runs, says nothing about the method.
demo-quick: install
	$(BIN)/python tools/demo.py --pretraining-images 640 --segmentation-iterations 40 --work-dir work_dirs/demo-quick

# The page for your own pictures; ARGS="--port 8000" for other options of demo/app.py.
app: install
	$(BIN)/python demo/app.py $(ARGS)

# The documentation as a site, in site/; a warning is an error.
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

test: install-dev
	$(TEST) -m "not soak"

# The inner loop, in under two minutes: attention, models, loading and configs, without what compiles, trains or starts
# processes.
FAST_TESTS := $(addprefix tests/,test_configs.py test_floors.py checkpoints/test_names.py checkpoints/test_reader.py \
	$(addprefix attention/test_,backends.py gaug.py golden.py kernel.py refinement.py) \
	$(addprefix models/test_,building.py golden_models.py loading.py locat_vit.py patch_refinement.py wrong_arguments.py))
test-fast: install-dev
	$(TEST) -m "not soak" $(FAST_TESTS)

# What holds of the stamps of Tux Paint themselves, which StampScenes is made of: 161 MB, fetched once to STAMPS.
STAMPS ?= .venv-stamps.deb
test-stamps: install-dev
	test -f $(STAMPS) || { $(BIN)/python tools/data/stamps.py --fetch $(STAMPS).part && mv $(STAMPS).part $(STAMPS); }
	MMLOCAT_STAMPS=$(STAMPS) $(BIN)/python -m pytest -q tests/datasets/test_real_stamps.py

# pytest exits with 5 where no test is marked, which is no failure.
test-soak: install-dev
	$(TEST) -m soak || [ $$? -eq 5 ]

# What depends on the version of PyTorch, on another than .venv's: make test-torch TORCH=2.6.0. Each has the torchvision
# that was built for it, and Triton as it asks for it. 2.1.2 has OpenMMLab's own packages, the others have OneDL's.
TORCH ?= 2.6.0
TORCH_AND_VISION := 2.1.2/0.16.2 2.4.1/0.19.1 2.6.0/0.21.0 2.8.0/0.23.0 2.11.0/0.26.0 2.14.1/0.29.1
TORCH_TESTS := tests/attention tests/models tests/checkpoints tests/engine tests/training tests/deploy/test_compile.py
OTHER_TORCH = .venv-torch-$(1)/.mmlocat-ready
test-torch: $(call OTHER_TORCH,$(TORCH))
	OMP_NUM_THREADS=1 $(<D)/bin/python $(PYTEST) -m "not soak" $(TORCH_TESTS)

# The interpreter of Triton 3.6 and older takes arrays of one element for numbers, which numpy 2.4 refuses.
$(call OTHER_TORCH,%): VISION = $(patsubst $*/%,%,$(filter $*/%,$(TORCH_AND_VISION)))
$(call OTHER_TORCH,%): NUMPY = $(if $(filter 2.14.%,$*),,"numpy<2.4")
$(call OTHER_TORCH,%): setup.py pyproject.toml
	@test -n "$(VISION)" || { echo "No torchvision is known for PyTorch '$*'; TORCH/TORCHVISION are $(TORCH_AND_VISION)." \
		"Add a pair to TORCH_AND_VISION in the Makefile." >&2; exit 2; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	@echo "Installing PyTorch $*, torchvision $(VISION) and the rest (some minutes, several GB) ..."
	$(@D)/bin/python -m pip install --quiet --progress-bar off -e ".[onedl,test]" torch==$* torchvision==$(VISION) $(NUMPY)
	touch $@

# mmcv is built from source (10 minutes): upstream mmseg imports its compiled operators, and refuses mmcv 2.2. They are
# never called here: without optimisation they compile in half the time.
UPSTREAM := torch==2.1.2 torchvision==0.16.2 "numpy<2"
$(call OTHER_TORCH,2.1.2): PIP = $(@D)/bin/python -m pip install --quiet --progress-bar off
$(call OTHER_TORCH,2.1.2): setup.py pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(PIP) "setuptools<70" wheel ninja psutil $(UPSTREAM)
	CFLAGS="-O0 -g0" MMCV_WITH_OPS=1 $(PIP) --no-build-isolation mmcv==2.1.0 "opencv-python<4.12" $(UPSTREAM)
	$(PIP) "mmengine>=0.10.3" "mmsegmentation>=1.2.2" "mmpretrain>=1.2.0" ftfy regex $(UPSTREAM)
	$(PIP) --no-build-isolation -e ".[openmmlab,dev]" $(UPSTREAM)
	touch $@

# Everything on the upstream OpenMMLab releases.
test-openmmlab: $(call OTHER_TORCH,2.1.2)
	OMP_NUM_THREADS=1 $(<D)/bin/python $(PYTEST) -m "not soak"

# The suite on a GPU machine, by an interpreter that is there: PYTHON=/path/to/python. Nothing is installed. What the
# interpreter lacks is skipped, with the reason; PyTorch and pytest are all it must have. ARGS are pytest's.
test-cuda:
	$(PYTHON) -m pytest -m "not soak" $(ARGS)

# The tests that measure figures, soak or not, and docs/reliability.md from what they found. Hours on two cores.
reliability: install-dev
	$(TEST) --record-figures --only-figures

# docs/performance_gpu.md and a JSON beside it, in under eight minutes on one GPU. A GPU machine may have no network: it
# runs in an environment that is there, PYTHON names its interpreter; ARGS="--out FOLDER" writes elsewhere.
gpu-report:
	PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON) tools/benchmark/gpu_report.py $(ARGS)

lint: install-dev
	$(BIN)/ruff check .

# Source distribution and wheel in dist/, as PyPI would take them.
package: install-dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) .venv-torch-* $(STAMPS) build dist *.egg-info
