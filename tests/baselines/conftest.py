"""A small world: SDXL's real pipeline with random weights, on a small random codec."""

import dataclasses

import pytest
import torch

from baselines.contract import World
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.generators.codec_vae import CodecAutoencoder
from lua_lightning.generators.generator import Generator
from lua_lightning.generators.tiny_sdxl import build_tiny_sdxl
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.lua_lightning.generators.pipelines import SMALL_SDXL

BASE = 64  # pixels of the base image


@pytest.fixture(scope="session")
def generator(codec_folder) -> Generator:
    torch.manual_seed(1)
    pipe = build_tiny_sdxl(SMALL_SDXL)
    vae = CodecAutoencoder(str(codec_folder))
    pipe.register_modules(vae=vae)
    pipe.register_to_config(_name_or_path="small")  # as loading one sets it
    facts = dataclasses.replace(GENERATORS["tiny-sdxl"], native_size=BASE, steps=3, ladder=((128, BASE), (256, BASE)))
    return Generator(pipe, vae.latent_codec, facts)


@pytest.fixture
def world(generator, codec_folder) -> World:
    torch.manual_seed(2)
    world = World(device="cpu")
    config = AdapterConfig.sized("tiny", channels=4, codec=str(codec_folder))
    world.__dict__.update(generator=generator, adapter=LatentUpscaler(config).eval())
    return world
