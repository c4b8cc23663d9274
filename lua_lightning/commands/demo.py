"""`lua-lightning demo`: a page in the browser that enlarges a picture, for this machine alone."""

import argparse

from lua_lightning.commands.choices import adapters
from lua_lightning.commands.command import Command, listing
from lua_lightning.errors import UserError
from lua_lightning.zoo import DEFAULT_ADAPTER, zoo_adapters

ADDRESS = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning demo`."""
    parser.add_argument("--port", type=int, default=7860, help="port on this machine")
    parser.add_argument("--adapter", default=DEFAULT_ADAPTER, help="adapter that is chosen first")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")


def run(options: argparse.Namespace) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C."""
    if not 1 <= options.port <= 65535:
        raise UserError(f"--port {options.port} must be 1 to 65535")
    from lua_lightning.demo import page
    from lua_lightning.environment import checked_device

    device = checked_device(options.device)
    known = [name for name in zoo_adapters() if name.startswith("lua-")]
    blocks = page([options.adapter, *(name for name in known if name != options.adapter)], device)
    try:
        blocks.launch(server_name=ADDRESS, server_port=options.port, share=False, quiet=True, prevent_thread_lock=True)
    except OSError as error:
        raise UserError(f"port {options.port} is taken: give another --port") from error
    print(f"http://{ADDRESS}:{options.port}  (Ctrl-C ends it)", flush=True)
    try:
        blocks.block_thread()
    finally:
        blocks.close()


COMMAND = Command(
    "demo",
    "Serve a page that enlarges a picture, on this machine alone.",
    "lua-lightning demo --port 7860",
    add_arguments,
    run,
    lambda: listing("choices", adapters()),
)
