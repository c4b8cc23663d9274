"""`lua-lightning generate`: one image from a prompt, by any method of the benchmark.

The command belongs to the methods, not to the library: the entry point in pyproject.toml adds it to the command line.
"""

import argparse
import json
import sys
from pathlib import Path

from baselines.registry import METHODS
from lua_lightning.commands.choices import adapters, generators
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.generators.catalogue import find_generator

GENERATOR = "generator="  # the one setting that is not the method's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning generate`."""
    parser.add_argument("prompt", help="text that the image shows")
    add_settings(parser, "generator=NAME (default: tiny-sdxl), and settings of the method, such as steps=20")
    parser.add_argument("--method", default="lua", metavar="METHOD", help="way to the image, listed below")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--adapter", help="name, folder or hub id (default: lua-tiny-d16)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the noise; the same seed gives the same image")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the generator's, or the method's)")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument("-o", "--output", type=Path, help="PNG file (default: METHOD-SIZE.png)")


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", {"methods": [*METHODS], **generators(), **adapters()})


def run(options: argparse.Namespace) -> None:
    """Write the image, print a sentence on stderr and the facts as one JSON line."""
    chosen = [item.removeprefix(GENERATOR) for item in options.overrides if item.startswith(GENERATOR)]
    name = chosen[-1] if chosen else "tiny-sdxl"
    facts = find_generator(name)  # before torch is imported: a wrong name is told at once
    base_size = facts.base_size(options.size)
    if options.method not in METHODS:
        raise unknown_name("method", options.method, METHODS)
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps {options.steps} must be at least 1")
    from baselines.contract import Start, World
    from baselines.registry import build_method
    from lua_lightning.environment import checked_device
    from lua_lightning.images import write_image

    world = World(name, steps=options.steps)
    if options.device:
        world.device = checked_device(options.device)
    if options.adapter:
        world.adapter_name = options.adapter
    method = build_method(options.method, world, [item for item in options.overrides if not item.startswith(GENERATOR)])
    method.check(options.size)
    if method.enlarges:
        start = world.start(options.prompt, options.seed, base_size)
    else:
        start = Start(None, options.prompt, options.seed)
    outcome = method.run(start, options.size)
    output = options.output or Path(f"{method.name}-{options.size}.png")
    write_image(output, outcome.image)
    height, width = outcome.image.shape[-2:]
    phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in outcome.seconds.items())
    print(f"{output}: {width}x{height} by {method.name}; {phases}", file=sys.stderr)
    result = {
        "image": str(output),
        "method": method.name,
        "generator": name,
        "prompt": options.prompt,
        "seed": options.seed,
        "size": options.size,
        "base_size": base_size,
        "seconds": outcome.seconds,
        "peak_memory_mib": max(outcome.peak_mib.values()),
    }
    print(json.dumps(result))


COMMAND = Command(
    "generate",
    "Make an image from a prompt by any method of the benchmark.",
    'lua-lightning generate "a mountain lake at sunset" --method lua --size 512',
    add_arguments,
    run,
    details,
)
