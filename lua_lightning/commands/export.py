"""`lua-lightning export`: an adapter as other programs take it."""

import argparse
import json
import sys
from pathlib import Path

from lua_lightning.commands.choices import adapters, codecs
from lua_lightning.commands.command import Command, listing
from lua_lightning.commands.outputs import check_writable
from lua_lightning.errors import unknown_name
from lua_lightning.export.targets import TARGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning export`."""
    parser.add_argument("adapter", help="run folder, name, folder, file or hub id")
    parser.add_argument("target", metavar="TARGET", help=f"what to export to: {', '.join(TARGETS)}")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument("--hub-id", metavar="OWNER/NAME", help="where you will upload it (default: the folder's name)")
    parser.add_argument(
        "--codec", help="autoencoder that `pipeline` carries (default: the one the adapter was trained on)"
    )
    parser.add_argument("--license", metavar="ID", help="licence of the weights (default: what their card says)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def details() -> str:
    """Return what can be chosen."""
    targets = "\n".join(f"  {name}: {target.sentence}" for name, target in TARGETS.items())
    return f"targets:\n{targets}\n\n" + listing("choices", {**adapters(), **codecs()})


def run(options: argparse.Namespace) -> None:
    """Write the export; print a sentence on stderr and the facts as one JSON line."""
    if options.target not in TARGETS:
        raise unknown_name("target", options.target, TARGETS)
    check_writable(options.out, "--out")
    from lua_lightning.export.folder import LICENSE, licence_text, refuse_taken, staged
    from lua_lightning.export.subject import find_subject
    from lua_lightning.files import write_text

    refuse_taken(options.out, options.overwrite)
    hub_id = options.hub_id or options.out.resolve().name
    subject = find_subject(options.adapter, hub_id, options.codec, options.license)
    with staged(options.out) as stage:
        difference = TARGETS[options.target].load()(subject, stage)
        write_text(stage / LICENSE, licence_text())
        files = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
    print(
        f"{options.adapter} as {options.target} in {options.out}: differs from the adapter by {difference:.1e} at most",
        file=sys.stderr,
    )
    facts = {"adapter": options.adapter, "target": options.target, "folder": str(options.out)}
    print(json.dumps({**facts, "files": files, "largest_difference": difference}))


COMMAND = Command(
    "export",
    "Write an adapter in the form that other programs take it.",
    "lua-lightning export lua-tiny-d16 diffusers --out exported/lua-tiny-d16",
    add_arguments,
    run,
    details,
)
