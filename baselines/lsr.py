"""LSRNA's latent super-resolver (arXiv 2503.18446)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from baselines.lua import Lua
from lua_lightning.bounds import Text
from lua_lightning.models.adapter import LatentUpscaler


@dataclass
class LsrSettings:
    """Settings of the latent super-resolver."""

    weights: Annotated[str, Text()] = "lsr-tiny-d16"
    """Latent super-resolver: the zoo name, folder or hub id of an adapter with a LIIF head."""


class Lsr(Lua):
    """LSRNA's latent super-resolver alone (arXiv 2503.18446): a LIIF head on a SwinIR trunk, any scale."""

    name = "lsr"
    settings_type = LsrSettings

    @property
    def sources(self) -> tuple[str, ...]:
        return (*super(Lua, self).sources, self.settings.weights)

    @cached_property
    def network(self) -> LatentUpscaler:
        return LatentUpscaler.from_pretrained(self.settings.weights).to(self.world.device)
