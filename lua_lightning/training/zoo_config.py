"""The settings of the trainings of embedded models, `train-codec` and `train-generator`."""

from dataclasses import dataclass


@dataclass
class CodecTrainingConfig:
    """One run of `lua-lightning train-codec`."""

    out: str = "lua_lightning/zoo/tiny-d16"  # folder that receives config.json, weights and results.json
    photos: str = "data/photos"  # folder with the photographs' manifest.json
    latent_channels: int = 16
    width: int = 128  # channels of the residual networks
    encoder_blocks: int = 3  # 0: a linear encoder
    decoder_blocks: int = 5
    steps: int = 4000
    batch_size: int = 8  # crops per step
    crop_px: int = 128  # side of a training crop, pixels
    learning_rate: float = 4e-4  # at 1e-3 the residual networks may lose all they gain, whatever the channels
    latent_noise: float = 0.02  # standard deviation of the noise added to normalised latents, so that codes stay smooth
    max_reduction: int = 4  # photographs are also shown reduced 2x ... this much, as the adapter's inputs are
    pca_patches: int = 400_000
    bf16: bool = False  # train under bfloat16 autocast; three times as fast where the processor has such units
    seed: int = 0


@dataclass
class GeneratorTrainingConfig:
    """One run of `lua-lightning train-generator`."""

    out: str = "lua_lightning/zoo/tiny-sdxl"  # folder that receives the pipeline, results.json and the card
    state: str = "runs/zoo/tiny-sdxl.pt"  # where an unfinished training is kept, to go on with
    photos: str = "data/photos"  # folder with the photographs' manifest.json
    captions: str = "data/captions.json"  # caption of each photograph by file name
    codec: str = "tiny-d16"
    steps: int = 6000
    batch_size: int = 16  # images of 256 px in a step; a step of 512 px images has a quarter of it
    large_share: float = 0.2  # of the steps that train on 512 px
    variants: int = 32  # crops per photograph, of each kind, that are encoded beforehand
    local_share: float = 0.25  # of the images that are a part of a larger view and say so in their micro-conditioning
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    ema_decay: float = 0.999
    caption_dropout: float = 0.1  # share of images trained without a prompt, for classifier-free guidance
    bf16: bool = False  # bfloat16 autocast, on processors that have such units
    checkpoint_every: int = 200  # steps
    seed: int = 0
