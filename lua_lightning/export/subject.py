"""What is exported: an adapter by name, run folder, folder, file or hub id, and what is known of it."""

import re
from dataclasses import dataclass
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.pretrained import CONFIG_NAME
from lua_lightning.zoo import ZOO, zoo_names

FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
LICENCE = re.compile(r"^license: *(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Subject:
    """An adapter to export, with the words that go with it."""

    source: str
    """What the user named."""
    adapter: LatentUpscaler
    """Loaded, ready for inference."""
    card: str
    """The Markdown of its model card, without the header; empty where it has none."""
    licence: str | None
    """Licence of the weights, as its card names it."""
    hub_id: str
    """Where the export will be found: a hub id, or its folder's name."""
    codec: str | None
    """The autoencoder of its latents."""


def find_subject(source: str, hub_id: str, codec: str | None = None, licence: str | None = None) -> Subject:
    """Return what is known of an adapter.

    Args:
        source: A zoo name, a run folder, or whatever `LatentUpscaler.from_pretrained` takes.
        hub_id: Where the export will be found.
        codec: The autoencoder of its latents; None takes the one that it was trained on.
        licence: Of the weights; None takes what its card says.

    Raises:
        UserError: Nothing usable is there, or its head is of a kind that only this library computes.
    """
    folder = ZOO / source if source in zoo_names() else Path(source).expanduser()
    if (folder / "adapter" / CONFIG_NAME).is_file():
        folder = folder / "adapter"
    adapter = LatentUpscaler.from_pretrained(folder if folder.exists() else source)
    if adapter.config.head != "pixelshuffle":
        raise UserError(
            f"{source} has a {adapter.config.head} head, which only lua_lightning computes: "
            "export an adapter with pixel-shuffle heads"
        )
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    header = FRONT_MATTER.match(text)
    found = LICENCE.search(header[1]) if header else None
    known = licence or (found[1] if found else None)
    body = FRONT_MATTER.sub("", text).strip()
    return Subject(source, adapter, body, known, hub_id, codec or adapter.config.codec)
