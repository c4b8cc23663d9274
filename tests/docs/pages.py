"""The project's pages of Markdown, and what tests read out of them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "baselines/*.md") for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^(\s*)```(\w*)\n(.*?)^\s*```", re.MULTILINE | re.DOTALL)


def shell_lines(path: Path) -> list[str]:
    """Return the command lines in the unmarked code blocks of a page, without comments."""
    blocks = [block for _, language, block in FENCE.findall(path.read_text(encoding="utf-8")) if not language]
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts derive them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dry_run(target: str) -> subprocess.CompletedProcess[str]:
    """Return what make would do for the arguments of a `make` line, without doing it."""
    return subprocess.run(["make", "-n", *target], cwd=ROOT, capture_output=True, text=True, check=False)
