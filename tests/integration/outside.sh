#!/usr/bin/env bash
# The package as a user has it: the wheel in a fresh environment, outside any checkout, and its exports without it.
# Command: make test-integration   (or: bash tests/integration/outside.sh; WORK=folder keeps what it makes)
# Expect: about ten minutes on two cores, most of it installing; the last line says what passed.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WORK=${WORK:-$(mktemp -d)}
mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)
[ -n "${KEEP:-}" ] || trap 'rm -rf "$WORK"' EXIT
BUILDER=$(command -v python)  # of the checkout: it has build, and data/ is there
UV=$(command -v uv)
unset PYTHONPATH VIRTUAL_ENV
export HF_HOME=$WORK/hub MLFLOW_DISABLE_TELEMETRY=true

say() { printf '\n== %s\n' "$*"; }

say "the wheel"
mkdir -p "$WORK/source" "$WORK/outside"
(cd "$ROOT" && git ls-files -z) | (cd "$ROOT" && xargs -0 cp --parents -t "$WORK/source")
"$BUILDER" -m build --no-isolation --outdir "$WORK/dist" "$WORK/source" > "$WORK/build.log" 2>&1 \
	|| { tail -n 30 "$WORK/build.log"; exit 1; }
"$BUILDER" -m twine check --strict "$WORK"/dist/*

say "a fresh environment"
[ -x "$WORK/env/bin/python" ] || "$UV" venv --quiet --python "$BUILDER" "$WORK/env"
"$UV" pip install --quiet --python "$WORK/env/bin/python" --no-deps -r "$ROOT/requirements.txt"
"$UV" pip install --quiet --python "$WORK/env/bin/python" --no-deps --reinstall-package lua-lightning "$WORK"/dist/*.whl
RUN=$WORK/env/bin/lua-lightning PYTHON=$WORK/env/bin/python

say "photographs, which need the checkout"
(cd "$ROOT" && "$BUILDER" -m data dead-leaves --count 12 --size 256 --min-side 64 --out "$WORK/photos" > /dev/null)

cd "$WORK/outside"
say "the library and its commands"
"$PYTHON" -c 'import lua_lightning, sys; assert "site-packages" in lua_lightning.__file__, lua_lightning.__file__'
"$RUN" --version
"$RUN" | grep -q generate
"$RUN" doctor | tail -n 1
"$PYTHON" -c 'from PIL import Image; Image.effect_noise((90, 70), 60).convert("RGB").save("photo.jpg")'
"$RUN" upscale photo.jpg --scale 4 -o photo_x4.png
"$RUN" generate "a mountain lake at sunset" --size 512 --steps 2 -o lake.png
FEW="train.steps=2 train.batch_size=2 train.crop_latents=8 train.log_every=1 validation.image_keys=1 optim.warmup_steps=1
	tracking.system_metrics=false cache.crop_px=128 cache.crops_per_photo=2 cache.held_out_crops_per_photo=1
	data.photos=$WORK/photos"
for seed in 0 1; do
	# shellcheck disable=SC2086
	"$RUN" train stage1 $FEW seed=$seed --folder "runs/seed$seed" > "train$seed.json"
done
# shellcheck disable=SC2086
"$RUN" evaluate runs/seed0/adapter stage1 $FEW --split val > evaluate.json
"$RUN" compare runs/seed0 runs/seed1 > compare.txt
tail -c 200 evaluate.json

say "the README's Python"
"$PYTHON" "$ROOT/tests/integration/snippets.py" "$ROOT/README.md"

say "exports"
for target in diffusers modular pipeline comfyui onnx; do
	"$RUN" export lua-tiny-d16 $target --out "exported/$target" > "$target.json"
done
"$PYTHON" "$ROOT/tests/integration/snippets.py" "$ROOT/docs/integrations.md"
"$RUN" export runs/seed0 diffusers --out exported/run --license cc0-1.0 > run.json
"$RUN" upscale photo.jpg --runtime onnx --adapter exported/onnx -o photo_onnx.png
"$RUN" upscale photo.jpg --adapter exported/diffusers -o photo_diffusers.png
"$PYTHON" "$ROOT/tests/integration/exports.py" expect exported

say "exports where lua-lightning is not installed"
"$UV" pip uninstall --quiet --python "$PYTHON" lua-lightning
"$PYTHON" "$ROOT/tests/integration/exports.py" check exported

say "everything passed outside the checkout"
