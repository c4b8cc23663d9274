"""The closing card: a small table on stderr, so that stdout's last line stays one JSON object."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

METHODS = {
    "bicubic": "latent bicubic",
    "pixel_bicubic": "decoded LR, bicubic",
    None: "adapter",
    "ceiling": "codec ceiling",
    "photo_bicubic": "LR photograph, bicubic",
}


def print_scores(scores: Mapping[str, float], title: str) -> None:
    """Print PSNR, SSIM and recovery of every method at every scale.

    Args:
        scores: `x<scale>/<metric>` as `evaluation.evaluate` returns them.
        title: Heading of the table.
    """
    scales = sorted({name.partition("/")[0] for name in scores})
    table = Table(title=f"{title}; PSNR in dB", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for scale in scales:
        for metric in ("PSNR", "SSIM", "recov."):
            table.add_column(f"{scale} {metric}", justify="right")
    for method, label in METHODS.items():
        suffix = f"_{method}" if method else ""
        cells = []
        for scale in scales:
            psnr, ssim = (scores[f"{scale}/{metric}{suffix}"] for metric in ("psnr", "ssim"))
            low, high = scores[f"{scale}/psnr_bicubic"], scores[f"{scale}/psnr_ceiling"]
            cells += [f"{psnr:.2f}", f"{ssim:.3f}", f"{(psnr - low) / (high - low):.2f}"]
        table.add_row(label, *cells, style="" if method else "bold")
    Console(stderr=True).print(table)
