"""Pictures of a sweep: the deciding metric along each axis, and the same crop as every variant makes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from lua_lightning.config import RunConfig
from lua_lightning.documents import read_json
from lua_lightning.evaluation.intervals import read_scores
from lua_lightning.evaluation.registry import label_of
from lua_lightning.evaluation.rows import LATENT_BICUBIC, ROWS
from lua_lightning.evaluation.scoring import adapter_scores, reference
from lua_lightning.files import replacing
from lua_lightning.images import to_uint8
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.sweeps.plan import VARIANTS, Plan
from lua_lightning.sweeps.summary import Cell, Summary
from lua_lightning.training.runs import RESULTS

matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

COLOUR, REFERENCE_COLOUR = "#2b6cb0", "#c05621"
CROP = 144  # side in pixels of the shown part of a crop
DOTS = 110  # per inch


def plot_axis(plan: Plan, summary: Summary, axis: str, path: Path) -> None:
    """Draw the deciding metric at every scale along an axis: a dot a training, a bar at the mean."""
    metric = plan.config.metric.partition("/")[2]
    names = sorted({name for metrics in summary.cells.values() for name in metrics if name.partition("/")[2] == metric})
    values = {variant: value for variant, value in plan.axes[axis].items() if variant in summary.cells}
    figure = Figure(figsize=(1.5 + 3.4 * len(names), 0.9 + 0.42 * max(4, len(values))), layout="constrained")
    for panel, name in zip(np.ravel(figure.subplots(1, len(names), squeeze=False)), names, strict=True):
        cells = {variant: summary.cells[variant][name] for variant in values if name in summary.cells[variant]}
        if axis != VARIANTS and all(isinstance(value, (int, float)) for value in values.values()):
            _along_numbers(panel, {variant: float(values[variant]) for variant in cells}, cells, axis)
        else:
            _by_name(panel, cells, plan.config.reference)
        panel.set_title(label_of(name), loc="left")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=DOTS, format="png")


def _by_name(panel: Any, cells: Mapping[str, Cell], reference_name: str) -> None:
    labels = list(cells)
    for row, (variant, cell) in enumerate(cells.items()):
        colour = REFERENCE_COLOUR if variant == reference_name else COLOUR
        panel.plot(list(cell.values.values()), [row] * len(cell.values), "o", color=colour, alpha=0.6, markersize=4)
        panel.plot([cell.mean] * 2, [row - 0.25, row + 0.25], color=colour, linewidth=2)
    if reference_name in cells:
        panel.axvline(cells[reference_name].mean, color=REFERENCE_COLOUR, linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(labels)), labels)
    panel.invert_yaxis()
    panel.ticklabel_format(axis="x", useOffset=False)
    panel.locator_params(axis="x", nbins=4)


def _along_numbers(panel: Any, places: Mapping[str, float], cells: Mapping[str, Cell], axis: str) -> None:
    for variant, cell in cells.items():
        panel.plot([places[variant]] * len(cell.values), list(cell.values.values()), "o", color=COLOUR, alpha=0.6)
    at = sorted(set(places.values()))
    means = [np.mean([cell.mean for variant, cell in cells.items() if places[variant] == place]) for place in at]
    panel.plot(at, means, color=COLOUR)
    panel.set_xlabel(axis)
    if min(at) > 0 and max(at) / min(at) > 20:
        panel.set_xscale("log")


def draw_crops(plan: Plan, summary: Summary, path: Path) -> None:
    """Draw one held-out crop as the photograph, latent bicubic and every variant's first training make it, by scale."""
    first = {
        variant: next(run for run in plan.of(variant) if run.state == "finished")
        for variant in plan.variants
        if variant in summary.cells
    }
    shown = plan.config.reference if plan.config.reference in first else next(iter(first))
    scores = read_scores(first[shown].scores)
    hardest = f"x{min(first[shown].stages[-1].adapter.scales)}/psnr{ROWS[LATENT_BICUBIC].suffix}"
    sample = min(scores, key=lambda crop: crop.values[hardest]).sample
    pictures: dict[int, dict[str, np.ndarray]] = {}
    for variant in [shown, *(other for other in first if other != shown)]:
        run = first[variant]
        adapter = Path(read_json(run.folder / RESULTS, keys={"adapter": str})["adapter"])
        for scale, (images, enlarged) in _made(run.stages[-1], adapter, sample).items():
            columns = pictures.setdefault(scale, dict(images))
            columns[variant] = enlarged
    count = max(len(columns) for columns in pictures.values())
    figure = Figure(figsize=(1.45 * count, 1.75 * len(pictures)), layout="constrained")
    panels = figure.subplots(len(pictures), count, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for row, (scale, columns) in enumerate(sorted(pictures.items())):
        for panel, (name, image) in zip(panels[row], columns.items(), strict=False):
            panel.imshow(image, interpolation="nearest")
            panel.set_title(f"x{scale} {name}" if panel is panels[row][0] else name, fontsize=7)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=2 * DOTS, format="png")


def _made(run: RunConfig, adapter: Path, sample: int) -> dict[int, tuple[dict[str, np.ndarray], np.ndarray]]:
    """Return, by scale, photograph and latent bicubic of a validation crop, and what the adapter makes of it."""
    codec = LatentCodec.from_pretrained(run.cache.codec)
    network = LatentUpscaler.from_pretrained(adapter)
    pairs = PairDataset(build_cache(run.cache, PhotoSet.load(run.data.photos), codec), "val")
    batch = torch.utils.data.default_collate([pairs[sample]])
    top, left = _busiest(batch["image"])
    cut = (slice(None), slice(None), slice(top, top + CROP), slice(left, left + CROP))
    made = {}
    for scale in network.config.scales:
        rivals = reference(codec, batch, scale).images
        output, _ = adapter_scores(network, codec, batch, scale)
        known = {"photograph": batch["image"], LATENT_BICUBIC: rivals[LATENT_BICUBIC]}
        shown = [to_uint8(image[cut].clamp(-1, 1)) for image in (*known.values(), output)]
        made[scale] = (dict(zip(known, shown[:-1], strict=True)), shown[-1])
    return made


def _busiest(image: Tensor) -> tuple[int, int]:
    """Return top and left of the window of `CROP` pixels of an image (1, 3, H, W) whose neighbours differ most."""
    grey = image.mean(1, keepdim=True)
    change = (grey[..., 1:, :-1] - grey[..., :-1, :-1]).abs() + (grey[..., :-1, 1:] - grey[..., :-1, :-1]).abs()
    side = min(CROP, *change.shape[-2:])
    means = F.avg_pool2d(change, side, stride=8)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * 8, column * 8


def pictures(plan: Plan, summary: Summary, folder: Path) -> Sequence[Path]:
    """Draw everything into `folder` and return the files."""
    files = []
    for axis in plan.axes:
        if any(variant in summary.cells for variant in plan.axes[axis]):
            files.append(folder / f"axis-{axis.replace(':', '-')}.png")
            plot_axis(plan, summary, axis, files[-1])
    files.append(folder / "crops.png")
    draw_crops(plan, summary, files[-1])
    return files
