"""The `lua-lightning` command: one subcommand per task; imports wait until a task is chosen."""

import argparse
import sys
from pathlib import Path

from lua_lightning.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    root = argparse.ArgumentParser(prog="lua-lightning", description=__import__("lua_lightning").__doc__)
    commands = root.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="train an adapter from an experiment file")
    train.add_argument("experiment", type=Path, help="YAML file, such as experiments/stage1.yaml")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file's")
    train.add_argument("--resume", nargs="?", const="auto", metavar="RUN", help="go on with the newest run or RUN")
    train.add_argument("--folder", type=Path, help="the run's folder; one that was begun is gone on with")

    chain = commands.add_parser("chain", help="train several stages in a row")
    chain.add_argument("chain", type=Path, help="YAML file, such as experiments/chains/full.yaml")
    chain.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings for every stage, or for one: stage3:key=value"
    )
    chain.add_argument("--resume", action="store_true", help="go on with the newest unfinished chain of that name")
    chain.add_argument("--folder", type=Path, help="the chain's folder; one that was begun is gone on with")

    chain.add_argument("--minutes", type=float, help="train each stage for its share of this time (default: by steps)")

    sweep = commands.add_parser("sweep", help="train every variant of a sweep file and compare them")
    sweep.add_argument("sweep", type=Path, help="YAML file, such as experiments/sweeps/losses.yaml")
    sweep.add_argument("overrides", nargs="*", metavar="key=value", help="settings for every run, as of a chain")
    sweep.add_argument("--seeds", help="such as 0,1,2 (default: the file's)")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and the expected time, and stop")
    sweep.add_argument("--retry-failed", action="store_true", help="run those again that failed before")
    sweep.add_argument("--jobs", type=int, help="runs at a time (default: one a GPU; 2 without a GPU)")
    sweep.add_argument("--cluster", choices=("local", "slurm"), default="local", help="where (default: %(default)s)")
    sweep.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the job, such as partition=gpu (repeatable)",
    )

    cache = commands.add_parser("cache", help="encode an experiment's latent pairs before training")
    cache.add_argument("experiment", type=Path, help="YAML file, such as experiments/stage1.yaml")
    cache.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file's")
    cache.add_argument("--part", metavar="I/N", help="only part I of N, from 0; a call without closes the cache")

    upscale = commands.add_parser("upscale", help="enlarge a photograph, or a folder of them")
    upscale.add_argument("input", type=Path, help="image file or folder")
    upscale.add_argument("-o", "--output", type=Path, required=True, help="image file, or folder when the input is one")
    upscale.add_argument("--scale", type=int, default=2, help="2 or 4 (default: %(default)s)")
    upscale.add_argument("--adapter", default="lua-tiny-d16", help="name, folder or file (default: %(default)s)")
    upscale.add_argument("--codec", default=None, help="autoencoder of the latents (default: the adapter's own)")
    upscale.add_argument("--tile", type=int, default=1024, help="side of a result tile, px (default: %(default)s)")
    upscale.add_argument("--device", default=None, help="cpu, cuda or mps (default: the best there is)")

    generate = commands.add_parser("generate", help="make an image from a prompt by any method of the benchmark")
    generate.add_argument("prompt")
    generate.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="generator=NAME (tiny-sdxl, sdxl, sd3, flux, flux2, a folder or a hub id), or the method's settings",
    )
    generate.add_argument("--method", default="lua", help="such as lua, direct, swinir, demofusion (default: lua)")
    generate.add_argument("--size", type=int, default=512, help="side of the image in pixels (default: 512)")
    generate.add_argument("--adapter", default=None, help="name, folder or hub id (default: the embedded one)")
    generate.add_argument("--seed", type=int, default=42)
    generate.add_argument("--steps", type=int, help="denoising steps (default: the generator's, or the method's)")
    generate.add_argument("--device", help="cpu, cuda or mps (default: what is there)")
    generate.add_argument("-o", "--output", type=Path, help="PNG file (default: METHOD-SIZE.png)")

    evaluate = commands.add_parser("evaluate", help="measure an adapter on held-out photographs")
    evaluate.add_argument("adapter", nargs="?", default="lua-tiny-d16", help="name or folder (default: %(default)s)")
    default = Path("experiments/stage1.yaml")
    evaluate.add_argument("experiment", nargs="?", type=Path, default=default, help="whose data (default: %(default)s)")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file's")
    evaluate.add_argument(
        "--split", choices=("val", "test"), default="test", help="photographs to measure on (default: %(default)s)"
    )

    compare = commands.add_parser("compare", help="compare finished runs with a first one, crop by crop")
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/stage1/TIME")
    compare.add_argument(
        "--split", choices=("val", "test"), default="val", help="photographs to compare on (default: %(default)s)"
    )

    codec = commands.add_parser("train-codec", help="build an embedded autoencoder")
    codec.add_argument("experiment", type=Path, help="YAML file, such as experiments/zoo/codec-d16.yaml")
    codec.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file's")

    generator = commands.add_parser("train-generator", help="build the embedded generator")
    generator.add_argument("experiment", type=Path, help="YAML file, such as experiments/zoo/tiny-sdxl.yaml")
    generator.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file's")

    sync = commands.add_parser("sync", help="send a run's records that MLflow has not received")
    sync.add_argument("run", type=Path, help="run folder, such as runs/stage1/20260131-120000")

    commands.add_parser("doctor", help="say what is here and what is missing")
    return root


def dispatch(arguments: argparse.Namespace) -> int:
    """Run the chosen subcommand and return the exit status."""
    if arguments.command == "train":
        from lua_lightning.training.train import main

        main(arguments.experiment, arguments.overrides, arguments.resume, arguments.folder)
    elif arguments.command == "chain":
        from lua_lightning.training.chain import main

        main(arguments.chain, arguments.overrides, arguments.resume, arguments.folder, arguments.minutes)
    elif arguments.command == "sweep":
        from lua_lightning.sweeps.main import main

        return main(arguments)
    elif arguments.command == "cache":
        from lua_lightning.commands.cache import main

        main(arguments.experiment, arguments.overrides, arguments.part)
    elif arguments.command == "upscale":
        from lua_lightning.commands.upscale import main

        return main(arguments)
    elif arguments.command == "generate":
        from lua_lightning.commands.generate import main

        main(arguments)
    elif arguments.command == "evaluate":
        from lua_lightning.commands.evaluate import main

        main(arguments.adapter, arguments.experiment, arguments.overrides, arguments.split)
    elif arguments.command == "compare":
        from lua_lightning.commands.compare import main

        main(arguments.runs, arguments.split)
    elif arguments.command == "train-codec":
        from lua_lightning.training.zoo_codec import main

        main(arguments.experiment, arguments.overrides)
    elif arguments.command == "train-generator":
        from lua_lightning.training.zoo_generator import main

        main(arguments.experiment, arguments.overrides)
    elif arguments.command == "sync":
        from lua_lightning.tracking.sync import sync

        print(f"{sync(arguments.run)} records and files sent")
    elif arguments.command == "doctor":
        from lua_lightning.commands.doctor import doctor

        return doctor(Path.cwd())
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line; `key=value` may stand after options too, which argparse alone refuses."""
    root = parser()
    parsed, rest = root.parse_known_args(arguments)
    if rest and (not hasattr(parsed, "overrides") or any(item.startswith("-") for item in rest)):
        root.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides += rest
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a user's mistake is one sentence on stderr and status 2."""
    try:
        return dispatch(parse(arguments))
    except UserError as error:
        print(f"lua-lightning: {error}", file=sys.stderr)
        return 2
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    """End the processes' group, if there is one: gloo aborts a process that exits inside it."""
    dist = sys.modules.get("torch.distributed")  # not imported where no task needed it
    if dist is not None and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
