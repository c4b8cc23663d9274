"""Write docs/settings.md from the docstrings under the settings' fields.

Command: make docs-settings
"""

from pathlib import Path

from baselines.registry import METHODS, method_class
from benchmarks.config import BenchConfig
from lua_lightning.config import RunConfig
from lua_lightning.files import write_text
from lua_lightning.models.adapter import AdapterConfig
from lua_lightning.settings import settings_markdown
from lua_lightning.sweeps.plan import SweepConfig, VariantConfig
from lua_lightning.sweeps.search import SearchConfig
from lua_lightning.training.chain import ChainConfig, StageConfig
from lua_lightning.training.zoo_config import CodecTrainingConfig, GeneratorTrainingConfig

PAGE = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings

Every setting can be written in a YAML file, or as `key=value` on the command line, which overrides the file.
A mistyped key is refused, and the error names the nearest one.
This page is generated from the settings themselves by `make docs-settings`; `lua-lightning train --help` prints the
first section.
"""
SECTIONS = {
    "Experiment files": ("The files in `experiments/`, for `train`, `cache` and `evaluate`.", RunConfig),
    "Chain files": ("The files in `experiments/chains/`, for `chain`.", ChainConfig),
    "Stages of a chain": ("Each entry of a chain's `stages`.", StageConfig),
    "Sweep files": ("The files in `experiments/sweeps/`, for `sweep`.", SweepConfig),
    "Variants of a sweep": ("Each entry of a sweep's `variants`.", VariantConfig),
    "Search files": ("The files in `experiments/searches/`, for `search`.", SearchConfig),
    "Benchmarks": ("The settings of `python -m benchmarks`.", BenchConfig),
    "Embedded autoencoders": ("The settings of `train-codec`.", CodecTrainingConfig),
    "Embedded generator": ("The settings of `train-generator`.", GeneratorTrainingConfig),
    "Adapter folders": ("The `config.json` of an adapter, which training writes.", AdapterConfig),
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for title, (where, schema) in SECTIONS.items():
        parts.append(f"## {title}\n\n{where}\n\n{settings_markdown(schema)}\n")
    parts.append("## Methods\n\nWhat `lua-lightning generate` and a benchmark's `settings` take, by method.\n")
    for name in METHODS:
        schema = method_class(name).settings_type
        if schema is not None:
            parts.append(f"### `{name}`\n\n{settings_markdown(schema)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    write_text(PAGE, page())
    print(PAGE)
