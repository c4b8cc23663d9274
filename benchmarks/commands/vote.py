"""`lua-lightning vote`: one page on which people compare a benchmark's images without knowing what made them."""

import argparse
import json
import sys
from pathlib import Path

from lua_lightning.commands.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning vote`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished benchmark")
    parser.add_argument("--methods", nargs="+", default=[], help="rows to compare (default: all with images)")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of a voter at most; 0 takes all")
    parser.add_argument("--attention", type=int, default=3, help="pairs with a spoiled image, which show who looks")
    parser.add_argument("--seed", type=int, default=0, help="seed that chooses the pairs (default: 0)")
    parser.add_argument("-o", "--output", type=Path, help="HTML file (default: vote.html in RUN)")


def run(options: argparse.Namespace) -> None:
    """Write the page; print a sentence on stderr and the facts as one JSON line."""
    from benchmarks.ballot import ballot, check_methods, choose_pairs, page
    from benchmarks.finished import folder_of_run, images_of, read_results
    from lua_lightning.commands.outputs import check_writable
    from lua_lightning.errors import UserError
    from lua_lightning.files import write_text

    for name in ("pairs", "attention"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name} {getattr(options, name)} must be at least 0")
    results, folder = read_results(options.run), folder_of_run(options.run)
    output = options.output or folder / "vote.html"
    check_writable(output, "--output")
    images = images_of(folder, results)
    methods = check_methods(options.methods, images)
    pairs = choose_pairs(methods, len(results["prompts"]), options.pairs, options.attention, options.seed)
    content = ballot(results, images, pairs)
    write_text(output, page(content))
    print(f"{output}: {len(pairs)} pairs of {len(methods)} methods; open it in a browser", file=sys.stderr)
    print(json.dumps({"page": str(output), "ballot": content["ballot"], "pairs": len(pairs), "methods": methods}))


COMMAND = Command(
    "vote",
    "Make one offline page for blind votes on a benchmark's images.",
    "lua-lightning vote runs/bench/512-tiny-sdxl-0a1b2c3d --pairs 40",
    add_arguments,
    run,
)
