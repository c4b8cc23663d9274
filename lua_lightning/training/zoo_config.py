"""The settings of the trainings of embedded models, `train-codec` and `train-generator`."""

from dataclasses import dataclass


@dataclass
class CodecTrainingConfig:
    """One run of `lua-lightning train-codec`."""

    out: str = "lua_lightning/zoo/tiny-d16"
    """Folder that receives config.json, the weights and results.json."""
    photos: str = "data/photos"
    """Folder of the photo set, with its manifest.json."""
    latent_channels: int = 16
    """Channels of the latents."""
    width: int = 128
    """Channels of the residual networks."""
    encoder_blocks: int = 3
    """Residual blocks of the encoder. 0 leaves the encoder linear."""
    decoder_blocks: int = 5
    """Residual blocks of the decoder."""
    steps: int = 4000
    """Optimiser steps."""
    batch_size: int = 8
    """Crops in a batch."""
    crop_px: int = 128
    """Side of a training crop, in pixels."""
    learning_rate: float = 4e-4
    """Peak learning rate. At 1e-3 the residual networks may lose everything they gain, whatever the channels."""
    latent_noise: float = 0.02
    """Standard deviation of the noise that is added to normalised latents, so that the code stays smooth."""
    max_reduction: int = 4
    """Largest reduction that photographs are also shown at (2x, 4x, ...), as the adapter's inputs are."""
    pca_patches: int = 400_000
    """Patches that the principal components are computed from."""
    bf16: bool = False
    """Whether to train under bfloat16 autocast, three times as fast on processors that have such units."""
    seed: int = 0
    """Seed of the crops and of the noise."""


@dataclass
class GeneratorTrainingConfig:
    """One run of `lua-lightning train-generator`."""

    out: str = "lua_lightning/zoo/tiny-sdxl"
    """Folder that receives the pipeline, results.json and the card."""
    state: str = "runs/zoo/tiny-sdxl.pt"
    """File of an unfinished training, which is resumed from it."""
    photos: str = "data/photos"
    """Folder of the photo set, with its manifest.json."""
    captions: str = "data/captions.json"
    """Caption of each photograph, by file name."""
    codec: str = "tiny-d16"
    """Codec of the latents that the generator learns."""
    steps: int = 6000
    """Optimiser steps."""
    batch_size: int = 16
    """Images of 256 px in a batch. A batch of 512 px images has a quarter of that."""
    large_share: float = 0.2
    """Share of the steps that train on images of 512 px."""
    variants: int = 32
    """Crops of each photograph, of each kind, that are encoded beforehand."""
    local_share: float = 0.25
    """Share of the images that are a part of a larger view and say so in their micro-conditioning."""
    learning_rate: float = 8e-4
    """Peak learning rate."""
    warmup_steps: int = 200
    """Steps in which the learning rate rises linearly from zero."""
    ema_decay: float = 0.999
    """Decay of the averaged weights (EMA) that are saved in the end."""
    caption_dropout: float = 0.1
    """Share of the images trained without a prompt, for classifier-free guidance."""
    bf16: bool = False
    """Whether to train under bfloat16 autocast, on processors that have such units."""
    checkpoint_every: int = 200
    """Steps between the states that a stopped training resumes from."""
    seed: int = 0
    """Seed of the initial weights, the crops and the noise."""
