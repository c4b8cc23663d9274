"""The settings of the trainings of embedded models, `train-codec` and `train-generator`."""

from dataclasses import dataclass
from typing import Annotated

from lua_lightning.bounds import SEED, File, Multiple, Text, Within
from lua_lightning.config import MOST_STEPS


@dataclass
class CodecTrainingConfig:
    """One run of `lua-lightning train-codec`."""

    out: Annotated[str, Text()] = "lua_lightning/zoo/tiny-d16"
    """Folder that receives config.json, the weights and results.json."""
    photos: Annotated[str, Text()] = "data/photos"
    """Folder of the photo set, with its manifest.json."""
    latent_channels: Annotated[int, Within(1, 192)] = 16
    """Channels of the latents."""
    width: Annotated[int, Within(1, 4096)] = 128
    """Channels of the residual networks."""
    encoder_blocks: Annotated[int, Within(0, 100)] = 3
    """Residual blocks of the encoder. 0 leaves the encoder linear."""
    decoder_blocks: Annotated[int, Within(0, 100)] = 5
    """Residual blocks of the decoder."""
    steps: Annotated[int, Within(1, MOST_STEPS)] = 4000
    """Optimiser steps."""
    batch_size: Annotated[int, Within(1, 65_536)] = 8
    """Crops in a batch."""
    crop_px: Annotated[int, Within(8, 4096), Multiple(8)] = 128
    """Side of a training crop, in pixels."""
    learning_rate: Annotated[float, Within(0, 10, above=True)] = 4e-4
    """Peak learning rate. At 1e-3 the residual networks may lose everything they gain, whatever the channels."""
    latent_noise: Annotated[float, Within(0, 10)] = 0.02
    """Standard deviation of the noise that is added to normalised latents, so that the code stays smooth."""
    max_reduction: Annotated[int, Within(1, 64)] = 4
    """Largest reduction that photographs are also shown at (2x, 4x, ...), as the adapter's inputs are."""
    pca_patches: Annotated[int, Within(1000, 100_000_000)] = 400_000
    """Patches that the principal components are computed from."""
    bf16: bool = False
    """Whether to train under bfloat16 autocast, three times as fast on processors that have such units."""
    seed: Annotated[int, Within(0, SEED)] = 0
    """Seed of the crops and of the noise."""


@dataclass
class GeneratorTrainingConfig:
    """One run of `lua-lightning train-generator`."""

    out: Annotated[str, Text()] = "lua_lightning/zoo/tiny-sdxl"
    """Folder that receives the pipeline, results.json and the card."""
    state: Annotated[str, Text()] = "runs/zoo/tiny-sdxl.pt"
    """File of an unfinished training, which is resumed from it."""
    photos: Annotated[str, Text()] = "data/photos"
    """Folder of the photo set, with its manifest.json."""
    captions: Annotated[str, File()] = "data/captions.json"
    """Caption of each photograph, by file name."""
    codec: Annotated[str, Text()] = "tiny-d16"
    """Codec of the latents that the generator learns."""
    steps: Annotated[int, Within(1, MOST_STEPS)] = 6000
    """Optimiser steps."""
    batch_size: Annotated[int, Within(1, 65_536)] = 16
    """Images of 256 px in a batch. A batch of 512 px images has a quarter of that."""
    large_share: Annotated[float, Within(0, 1)] = 0.2
    """Share of the steps that train on images of 512 px."""
    variants: Annotated[int, Within(1, 10_000)] = 32
    """Crops of each photograph, of each kind, that are encoded beforehand."""
    local_share: Annotated[float, Within(0, 1)] = 0.25
    """Share of the images that are a part of a larger view and say so in their micro-conditioning."""
    learning_rate: Annotated[float, Within(0, 10, above=True)] = 8e-4
    """Peak learning rate."""
    warmup_steps: Annotated[int, Within(0, MOST_STEPS)] = 200
    """Steps in which the learning rate rises linearly from zero."""
    ema_decay: Annotated[float, Within(0, 1, below=True)] = 0.999
    """Decay of the averaged weights (EMA) that are saved in the end."""
    caption_dropout: Annotated[float, Within(0, 1)] = 0.1
    """Share of the images trained without a prompt, for classifier-free guidance."""
    bf16: bool = False
    """Whether to train under bfloat16 autocast, on processors that have such units."""
    checkpoint_every: Annotated[int, Within(1, MOST_STEPS)] = 200
    """Steps between the states that a stopped training resumes from."""
    seed: Annotated[int, Within(0, SEED)] = 0
    """Seed of the initial weights, the crops and the noise."""
