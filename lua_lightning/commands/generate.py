"""`lua-lightning generate`: one image from a prompt, by any method of the benchmark."""

import argparse
import json
import sys
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import find_generator

CHECKOUT = Path(__file__).parents[2]


def load_workbench() -> None:
    """Let `baselines` be imported: it is part of a checkout, not of the installed library.

    Raises:
        UserError: The library was installed without a checkout around it.
    """
    if not (CHECKOUT / "baselines/registry.py").is_file():
        raise UserError(
            "the methods are in baselines/, which belongs to a checkout of lua-lightning and not to the installed "
            "library: clone the repository and run the command there"
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))


def main(arguments: argparse.Namespace) -> None:
    """Write the image, print a sentence on stderr and the facts as one JSON line."""
    chosen = [item.partition("=")[2] for item in arguments.overrides if item.startswith("generator=")]
    name = chosen[-1] if chosen else "tiny-sdxl"
    facts = find_generator(name)  # before torch is imported: a wrong name is told at once
    base_size = facts.base_size(arguments.size)
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps} must be at least 1")
    load_workbench()
    from baselines.contract import Start, World
    from baselines.registry import build_method
    from lua_lightning.images import write_image

    world = World(name, steps=arguments.steps)
    if arguments.device:
        world.device = arguments.device
    if arguments.adapter:
        world.adapter_name = arguments.adapter
    overrides = [item for item in arguments.overrides if not item.startswith("generator=")]
    method = build_method(arguments.method, world, overrides)
    method.check(arguments.size)
    if method.enlarges:
        start = world.start(arguments.prompt, arguments.seed, base_size)
    else:
        start = Start(None, arguments.prompt, arguments.seed)
    outcome = method.run(start, arguments.size)
    output = arguments.output or Path(f"{method.name}-{arguments.size}.png")
    write_image(output, outcome.image)
    height, width = outcome.image.shape[-2:]
    phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in outcome.seconds.items())
    print(f"{output}: {width}x{height} by {method.name}; {phases}", file=sys.stderr)
    result = {
        "image": str(output),
        "method": method.name,
        "generator": name,
        "prompt": arguments.prompt,
        "seed": arguments.seed,
        "size": arguments.size,
        "base_size": base_size,
        "seconds": outcome.seconds,
        "peak_memory_mib": max(outcome.peak_mib.values()),
    }
    print(json.dumps(result))
