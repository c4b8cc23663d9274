"""The adapter before a light decoder, which saves where the adapter cannot: most of the time is the decoder's."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import TILE, Start, Unavailable, World
from baselines.lua import Lua
from lua_lightning.bounds import Text
from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.known_codecs import KNOWN
from lua_lightning.pipeline import check_pair

LIGHT = {"sdxl": "taesdxl", "sd3": "taesd3", "flux": "taef1", "flux2": "taef2"}  # by generator


@dataclass
class LuaLightSettings:
    """Settings of the adapter before a light decoder."""

    decoder: Annotated[str, Text(empty=True)] = ""
    """Autoencoder whose decoder is used: a name, folder or hub id, such as `black-forest-labs/FLUX.2-small-decoder`;
    by default the tiny autoencoder of the generator's latents."""


class LuaLight(Lua):
    """The latent upscaler adapter, then a light decoder in place of the generator's own."""

    name = "lua-light"
    settings_type = LuaLightSettings

    @property
    def decoder(self) -> str:
        """Name, folder or hub id of the decoder; empty where there is none."""
        return self.settings.decoder or light_decoder(self.world)

    @property
    def sources(self) -> tuple[str, ...]:
        decoder = self.decoder
        return (*super().sources, *([KNOWN[decoder].repo if decoder in KNOWN else decoder] if decoder else []))

    @cached_property
    def light(self) -> LatentCodec:
        """The autoencoder whose decoder is used."""
        return LatentCodec.from_pretrained(self.decoder).to(self.world.device)

    def check(self, size: int) -> None:
        """Refuse a decoder that is not there or does not fit the latents.

        Raises:
            Unavailable: With the reason.
        """
        if not self.decoder:
            raise Unavailable(
                f"no light decoder of the latents of {self.world.generator_name} is known: name one with "
                "settings.lua-light=[decoder=FOLDER]"
            )
        try:
            ours, theirs = self.world.codec, self.light
        except UserError as error:
            raise Unavailable(str(error)) from error
        if (ours.channels, ours.downscale) != (theirs.channels, theirs.downscale):
            raise Unavailable(
                f"{self.decoder} decodes latents of {theirs.channels} channels at 1/{theirs.downscale}, and "
                f"{self.world.generator_name} has {ours.channels} at 1/{ours.downscale}: name another decoder"
            )

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        check_pair(self.network, self.world.codec)
        latents = self.upscale(start, size, clock)
        with clock.phase("decode"):
            return self.light.decode(latents, tile=TILE // self.light.downscale).float().clamp(-1, 1)


def light_decoder(world: World) -> str:
    """Return the name of the tiny autoencoder that fits a generator known by name; empty where there is none."""
    return LIGHT.get(world.generator_name, "") if world.generator_name in GENERATORS else ""
