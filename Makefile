# Everything runs in .venv, which the first target that needs it sets up.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/lua-lightning
PHOTOS ?= data/photos
PORT ?= 5000
ARGS ?=
STAMP := .venv/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: setup
setup: $(STAMP) ## install everything into .venv (again only when requirements change)

$(STAMP): requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

.PHONY: data
data: setup ## fetch and prepare the default photographs (PHOTOS=data/photos)
	@$(BIN)/python -m data photos --out $(PHOTOS)

.PHONY: train-stage1
train-stage1: data ## train the adapter, stage I (RESUME=1 goes on with the last run; ARGS="train.steps=100 ...")
	@$(RUN) train experiments/stage1.yaml data.photos=$(PHOTOS) $(ARGS) $(if $(RESUME),--resume)

.PHONY: train-stage2 train-stage3 train-stage4
train-stage2: data ## train stage II from the newest stage I run (RESUME=1, ARGS=...)
train-stage3: data ## train stage III from the newest stage II run (RESUME=1, ARGS=...)
train-stage4: data ## train stage IV, the crisp weights, from the newest stage III run (RESUME=1, ARGS=...)
train-stage2 train-stage3 train-stage4:
	@$(RUN) train experiments/$(@:train-%=%).yaml data.photos=$(PHOTOS) $(ARGS) $(if $(RESUME),--resume)

.PHONY: train
train: data ## train stages I, II and III in a row (RESUME=1 goes on; CHAIN=experiments/chains/full.yaml)
	@$(RUN) chain $(or $(CHAIN),experiments/chains/full.yaml) data.photos=$(PHOTOS) $(ARGS) $(if $(RESUME),--resume)

.PHONY: transfer
transfer: data ## move an adapter to another autoencoder (CODEC=tiny-d4 FROM=lua-tiny-d16, ARGS=...)
	@$(RUN) train experiments/transfer.yaml data.photos=$(PHOTOS) cache.codec=$(or $(CODEC),tiny-d4) \
		adapter.init_from=$(or $(FROM),lua-tiny-d16) $(ARGS) $(if $(RESUME),--resume)

.PHONY: ablate-losses ablate-stages ablate-scales ablate-transfer ablate-range claim
ablate-losses: data ## leave out one loss term at a time, two seeds (started again, it goes on; ARGS="--dry-run", SEEDS=0,1,2)
ablate-stages: data ## every combination of stages with the same number of steps
ablate-scales: data ## joint heads against one model per scale and against LIIF
ablate-transfer: data ## another autoencoder: the trained trunk against training from scratch
ablate-range: data ## pixel losses alone, with and without a bound on the residual
claim: data ## the whole curriculum against parts of it, trained longer (CODEC=tiny-d4)
ablate-losses ablate-stages ablate-scales ablate-transfer ablate-range claim:
	@$(RUN) sweep experiments/sweeps/$(@:ablate-%=%).yaml data.photos=$(PHOTOS) $(if $(CODEC),cache.codec=$(CODEC)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

.PHONY: search-losses
search-losses: data ## search the weights of the loss terms with Optuna (started again, it goes on)
	@$(RUN) search experiments/searches/losses.yaml data.photos=$(PHOTOS) $(ARGS)

.PHONY: evaluate
evaluate: data ## measure the shipped adapter on held-out photographs (ADAPTER=lua-tiny-d16)
	@$(RUN) evaluate $(or $(ADAPTER),lua-tiny-d16) experiments/stage1.yaml data.photos=$(PHOTOS) $(ARGS)

.PHONY: mlflow-ui
mlflow-ui: setup ## open the MLflow UI on http://127.0.0.1:5000 (PORT=5000)
	@$(BIN)/python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null || \
		{ echo "port $(PORT) is not free: choose another, such as make mlflow-ui PORT=5001" >&2; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --workers 1 \
		--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 --port $(PORT)

.PHONY: generate
generate: setup ## make an image from a prompt (PROMPT="a mountain lake at sunset" METHOD=lua SIZE=512)
	@$(RUN) generate "$(or $(PROMPT),a mountain lake at sunset)" --method $(or $(METHOD),lua) --size $(or $(SIZE),512) $(ARGS)

.PHONY: bench-phases
bench-phases: setup ## seconds per phase and peak memory of every method at 512, 1024 and 2048 px
	@$(BIN)/python -m benchmarks.phases $(ARGS)

.PHONY: bench-speed
bench-speed: setup ## the same on SDXL's true graph with random weights (a small one of the same graph without a GPU)
	@$(BIN)/python -m benchmarks.speed $(ARGS)

.PHONY: bench-train
bench-train: data ## our training steps against a plain PyTorch loop, in turns (ARGS="--sizes tiny --stages stage1")
	@$(BIN)/python -m benchmarks.train_speed data.photos=$(PHOTOS) $(ARGS)

.PHONY: bench-attention bench-decode bench-upscale
bench-attention: setup ## ways to compute window attention, and how far each is from exact (ARGS=--flex)
	@$(BIN)/python -m benchmarks.attention $(ARGS)
bench-decode: setup ## time and peak memory of decoding 512 to 8192 px, whole and in tiles
	@$(BIN)/python -m benchmarks.decode_speed $(ARGS)
bench-upscale: setup ## the parts of enlarging a file, a folder, and starting up
	@$(BIN)/python -m benchmarks.upscale_speed $(ARGS)

.PHONY: bench-guard
bench-guard: data ## fail where a ratio to a reference fell by more than 15 percent (ARGS=--update stores today's)
	@$(BIN)/python -m benchmarks.guard $(ARGS)

.PHONY: bench-cache
bench-cache: data ## pairs per second of encoding a cache, and what bounds them (EXPERIMENT=stage1, ARGS="cache.workers=8 --pairs 256")
	@$(BIN)/python -m benchmarks.cache_speed $(or $(EXPERIMENT),stage1) data.photos=$(PHOTOS) $(ARGS)

.PHONY: bench-sharpness
bench-sharpness: data ## fidelity against perceptual distance from faithful to crisp (ADAPTER=folder)
	@$(BIN)/python -m benchmarks.sharpness $(or $(ADAPTER),$(error name an adapter: ADAPTER=folder)) --photos $(PHOTOS) $(ARGS)

.PHONY: gpu-check
gpu-check: setup ## check and measure everything on this machine's GPU, without network, in ten minutes at most
	@$(BIN)/python -m benchmarks.gpu_check $(ARGS)

.PHONY: bench-512 bench-1024 bench-2048 bench-4096
bench-512: data ## every method at 512 px: table, report and MLflow run (GENERATOR=tiny-sdxl, ARGS="prompts=8 ...")
bench-1024: data ## the same at 1024 px
bench-2048: data ## the same at 2048 px (FOLDER=path/to/images or MANIFEST=images.csv adds images made elsewhere)
bench-4096: data ## the same at 4096 px
bench-512 bench-1024 bench-2048 bench-4096:
	@$(BIN)/python -m benchmarks $(@:bench-%=%) photos=$(PHOTOS) $(if $(GENERATOR),generator=$(GENERATOR)) \
		$(if $(FOLDER),folders.mine=$(FOLDER)) $(if $(MANIFEST),manifest=$(MANIFEST)) $(ARGS)

.PHONY: inception clip dinov2 clip-large
inception: setup ## fetch the Inception weights of FID and KID into ~/.cache/lua-lightning
	@mkdir -p $(HOME)/.cache/lua-lightning
	@$(BIN)/python -c "from cleanfid.inception_torchscript import InceptionV3W; \
		InceptionV3W('$(HOME)/.cache/lua-lightning', download=True)"
clip: setup ## fetch the CLIP weights of the prompt match into the hub's cache
	@$(BIN)/python -c "import open_clip; open_clip.create_model('ViT-B-32', pretrained='openai')"
dinov2: setup ## fetch the DINOv2 weights of FD and KID into the hub's cache (1.2 GB)
	@$(BIN)/python -c "import transformers; transformers.Dinov2Model.from_pretrained('facebook/dinov2-large')"
clip-large: setup ## fetch the CLIP weights of CMMD into the hub's cache (1.7 GB)
	@$(BIN)/python -c "import transformers; \
		transformers.CLIPVisionModelWithProjection.from_pretrained('openai/clip-vit-large-patch14-336')"

.PHONY: check-submission leaderboard
check-submission: setup ## check results for the leaderboard (RESULTS=path/to/results.json)
	@$(BIN)/python -m benchmarks.submission $(RESULTS)
leaderboard: setup ## add them to docs/leaderboard.json and make docs/leaderboard.md anew (RESULTS=... BY="your name")
	@$(BIN)/python -m docs.leaderboard $(RESULTS) $(if $(BY),--by "$(BY)")

.PHONY: docs
docs: data ## regenerate the README's tables and close-ups from the measured result, docs/measured.json
	@$(BIN)/python -m docs.build $(PHOTOS)

.PHONY: docs-measure
docs-measure: bench-512 bench-1024 bench-2048 ## measure that result anew, with its pictures (40 minutes; needs chromium)
	@$(BIN)/python -m docs.measured
	@$(BIN)/python -m docs.build $(PHOTOS)

.PHONY: docs-zoo
docs-zoo: data ## measure every shipped adapter on test photographs, for its card and the README
	@$(BIN)/python -m benchmarks.zoo_check --photos $(PHOTOS) --out docs/zoo.json
	@$(BIN)/python -m docs.zoo
	@$(BIN)/python -m docs.build $(PHOTOS)

.PHONY: docs-settings
docs-settings: setup ## remake docs/settings.md from the settings' own explanations
	@$(BIN)/python -m docs.settings_page

.PHONY: docs-ablations
docs-ablations: setup ## remake the tables of docs/ablations.md from the sweeps that are finished here
	@$(BIN)/python -m docs.ablation_tables

.PHONY: docs-speed
docs-speed: setup ## remake the tables of docs/speed.md from what was measured here
	@$(BIN)/python -m docs.speed_tables

.PHONY: comfyui-network
comfyui-network: ## copy the inference network into the ComfyUI node pack, which needs no lua_lightning
	@sed 's/from lua_lightning.models.windows/from .windows/' lua_lightning/models/network.py > comfyui/network.py
	@cp lua_lightning/models/windows.py comfyui/windows.py

.PHONY: doctor
doctor: setup ## say what is here and what is missing
	@$(RUN) doctor

# Adapters, rivals and the generator go on where they were stopped; the autoencoders take minutes and begin anew.
# Adapters that are finished are not trained again: `rm -r runs/zoo` makes them anew.
ZOO := $(RUN) zoo

.PHONY: zoo
ifdef MINUTES
zoo: zoo-flux2 ## rebuild every shipped model (MINUTES=9: the FLUX.2 adapters alone, in that time, on a GPU)
else
zoo: zoo-codecs zoo-adapters zoo-generator zoo-rivals
endif

.PHONY: zoo-codecs
zoo-codecs: data ## rebuild the embedded autoencoders tiny-d64, tiny-d16 and tiny-d4
	$(RUN) train-codec experiments/zoo/codec-d64.yaml photos=$(PHOTOS)
	$(RUN) train-codec experiments/zoo/codec-d16.yaml photos=$(PHOTOS)
	$(RUN) train-codec experiments/zoo/codec-d4.yaml photos=$(PHOTOS)

.PHONY: zoo-adapters
zoo-adapters: data ## rebuild the embedded adapters lua-tiny-d64, lua-tiny-d16 and lua-tiny-d4
	for name in lua-tiny-d64 lua-tiny-d16 lua-tiny-d4; do \
		$(RUN) chain experiments/zoo/$$name.yaml --folder runs/zoo/$$name data.photos=$(PHOTOS) $(ARGS) && \
		$(ZOO) runs/zoo/$$name || exit 1; done

.PHONY: zoo-generator
zoo-generator: data ## rebuild the embedded generator tiny-sdxl (started again, it goes on)
	$(RUN) train-generator experiments/zoo/tiny-sdxl.yaml photos=$(PHOTOS)

.PHONY: zoo-flux2
zoo-flux2: data ## rebuild the FLUX.2 adapters (LUA_LIGHTNING_TAEF2=folder, MINUTES=9 for both)
	$(RUN) chain experiments/zoo/lua-flux2-small.yaml --folder runs/zoo/lua-flux2-small data.photos=$(PHOTOS) $(ARGS) \
		$(if $(MINUTES),--minutes $(shell awk "BEGIN {print $(MINUTES) * 0.4}"))
	$(RUN) chain experiments/zoo/lua-flux2-base.yaml --folder runs/zoo/lua-flux2-base data.photos=$(PHOTOS) $(ARGS) \
		$(if $(MINUTES),--minutes $(shell awk "BEGIN {print $(MINUTES) * 0.6}"))

.PHONY: zoo-rivals
zoo-rivals: data ## rebuild the embedded rivals of the adapter, lsr-tiny-d16 and swinir-tiny
	for name in lsr-tiny-d16 swinir-tiny; do \
		$(RUN) train experiments/zoo/$$name.yaml --folder runs/zoo/$$name data.photos=$(PHOTOS) $(ARGS) && \
		$(ZOO) runs/zoo/$$name || exit 1; done

.PHONY: zoo-check
zoo-check: data ## measure what every shipped adapter gains over bicubic on test photographs (ADAPTER=name)
	@$(BIN)/python -m benchmarks.zoo_check $(ADAPTER) --photos $(PHOTOS) $(ARGS)

.PHONY: test
test: setup ## run the test suite, on up to four cores at once
	@$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: test-slow
test-slow: setup ## run the long checks (speed proofs, servers that die, kill and resume)
	@$(BIN)/python -m pytest -q -rs -m slow $(ARGS)

.PHONY: chaos
chaos: setup ## kill every command at random moments, go on, compare with unbroken runs (ARGS="--kills 50 --seed 0")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: test-integration
test-integration: setup ## build the wheel, install it in a fresh environment and use it there, outside the checkout
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/integration/outside.sh $(ARGS)

.PHONY: wheel
wheel: setup ## build dist/lua_lightning-*.whl, which pip installs anywhere, and check its page
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/twine check --strict dist/lua_lightning-*

.PHONY: lint
lint: setup ## check style, types and the length of lines, in Markdown too
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m docs.line_length
	@$(BIN)/pyright
