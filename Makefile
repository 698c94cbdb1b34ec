# One way in: `make corpus` for data, `make test` for trust. Needs Python 3.11, make and pip.
PYTHON ?= python3.11
RECIPE ?= recipes/demo.yaml
OUT    ?= corpus
DEMO   ?= demo
BIN    := .venv/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# pip's warnings help only where it fails
PIPLOG := > .venv/pip.log 2>&1 || { cat .venv/pip.log; exit 1; }

.PHONY: install corpus test check train judge bench chaos system clean

# what the demo needs, its CLIP scorer included; `install` adds every extra and the development tools
.venv/base: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "needs Python 3.11: set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv"
	@$(PIP) --upgrade pip $(PIPLOG)
	@$(PIP) --editable . $(PIPLOG)
	@touch $@

.venv/full: .venv/base
	@echo "installing every extra and the development tools into .venv"
	@$(PIP) --editable '.[all,dev]' $(PIPLOG)
	@touch $@

install: .venv/full

corpus: .venv/base
ifeq ($(RECIPE),recipes/demo.yaml)
	@$(BIN)/vlcorpus synth crawl --out $(DEMO) --n 2000
	@$(BIN)/vlcorpus build $(RECIPE) --out $(OUT)
	@$(BIN)/vlcorpus synth score $(OUT) $(DEMO)
else
	@$(BIN)/vlcorpus build $(RECIPE) --out $(OUT)
endif
	@$(BIN)/vlcorpus verify $(OUT)
	@du -sm .venv | sed 's/\t.*/ MB in .venv/'
	@echo "look at: $(OUT)/README.md, and $(BIN)/vlcorpus inspect \$$(ls $(OUT)/shards/train/caption/*/*.tar | head -1) --html page.html"

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# VLCORPUS_TEST_DATA names a folder of real data; tests that need it skip without it (tests/README.md)
# Python is started many hundred times: compiled modules are kept, whatever the environment asks for
test: check
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadgroup

# trains the bundled model on a corpus of drawn scenes; figures in OUT/train/metrics.json
train: RECIPE = recipes/scenes.yaml
train: OUT = scenes
train: install
	@$(BIN)/vlcorpus build $(RECIPE) --out $(OUT)
	@$(BIN)/vlcorpus train $(OUT) --out $(OUT)
	@$(BIN)/vlcorpus eval $(OUT)/train/stage2 $(OUT) --out $(OUT)/train

# what the rules are worth: the same small model taught on the demo crawl as it is, and on what demo.yaml keeps
judge: install
	@$(BIN)/vlcorpus synth crawl --out demo --n 2000
	@$(BIN)/vlcorpus build recipes/judge/raw.yaml --out judgement/raw
	@$(BIN)/vlcorpus build recipes/demo.yaml --out judgement/curated
	@$(BIN)/vlcorpus synth crawl --out heldout --n 1000 --seed 2
	@$(BIN)/vlcorpus build recipes/judge/heldout.yaml --out judgement/heldout
	@$(BIN)/vlcorpus judge judgement/raw judgement/curated --held-out judgement/heldout \
		--preset recipes/judge/model.yaml --stage language,2 --seeds 3 --limit 200 --out judgement

# Megatron-Energon has requirements of its own: an environment beside this one, which sees its torch
.venv/energon/installed: .venv/full
	@echo "installing Megatron-Energon into .venv/energon"
	@$(BIN)/python -m venv .venv/energon
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$(.venv/energon/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	@.venv/energon/bin/pip install --quiet --disable-pip-version-check megatron-energon==7.4.1 $(PIPLOG)
	@touch $@

chaos: install .venv/energon/installed
	@$(BIN)/python -m tests.chaos
	@$(BIN)/python -m tests.damage
	@$(BIN)/python -m tests.power
	@$(BIN)/pytest -m long

bench: install
	@$(BIN)/python -m benchmarks.measure
	@$(BIN)/python -m benchmarks.local
	@$(BIN)/python -m benchmarks.engines
	@$(BIN)/python -m benchmarks.durable
	@$(BIN)/python -m benchmarks.dedup
	@$(BIN)/python -m benchmarks.scale
	@$(BIN)/python -m benchmarks.clip
	@$(BIN)/python -m benchmarks.fetch
	@$(BIN)/python -m benchmarks.synth pages

# nothing that `make corpus` and `make test` cannot do without
system:
	@if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq chromium fontconfig fonts-noto-cjk fonts-wqy-zenhei fonts-dejavu fonts-liberation; \
	else echo "as root: apt-get install chromium fontconfig fonts-noto-cjk fonts-wqy-zenhei fonts-dejavu fonts-liberation"; fi

clean:
	@rm -rf $(OUT) $(DEMO) scenes heldout judgement
