"""Train the embedded generator `tiny-sdxl` on captioned photographs: a small SDXL on an embedded autoencoder."""

import copy
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionXLPipeline
from rich.progress import track
from torch import Tensor

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.files import write_json, write_torch
from lua_lightning.generators.tiny_sdxl import TinySDXLConfig, build_tiny_sdxl, parameters
from lua_lightning.images import resize, to_tensor
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.training.averaging import warmed_up
from lua_lightning.training.cards import generator_card, write_card
from lua_lightning.training.zoo_config import GeneratorTrainingConfig

UNKNOWN = "a photograph"  # caption of a photograph that has none
SCENE_JITTER = 0.1  # how far the square of a scene varies in size and place, as a share
PARTS = ("unet", "text_encoder", "text_encoder_2")


class View(NamedTuple):
    """An encoded crop: latents (C, h, w), index of its caption, and SDXL's six numbers."""

    latents: Tensor
    caption: int
    time_ids: tuple[int, ...]


def draw_view(image: Tensor, side: int, enlargement: int, draw: torch.Generator) -> tuple[Tensor, tuple[int, ...]]:
    """Return a square crop (1, 3, side, side) of a photograph and SDXL's micro-conditioning of it.

    Args:
        image: (1, 3, H, W) in [-1, 1].
        side: Pixels of the crop.
        enlargement: 1 shows the scene as a whole; k shows a part of the scene at k times `side`, and the
            conditioning gives that size and the part's corner, as windows of a large image are generated.
        draw: Source of randomness.
    """
    height, width = image.shape[-2:]
    scene = int(min(height, width) * (1 - SCENE_JITTER * float(torch.rand((), generator=draw))))
    # Near the middle: a small network learns a scene it sees much the same way each time, and blurs it otherwise.
    top, left = (
        round((length - scene) * (0.5 + SCENE_JITTER * (float(torch.rand((), generator=draw)) - 0.5)))
        for length in (height, width)
    )
    whole = side * enlargement
    scene_image = resize(image[..., top : top + scene, left : left + scene], (whole, whole)).clamp(-1, 1)
    top, left = (8 * int(torch.randint((whole - side) // 8 + 1, (), generator=draw)) for _ in range(2))
    return scene_image[..., top : top + side, left : left + side], (whole, whole, top, left, whole, whole)


def encode_views(
    photos: PhotoSet, codec: LatentCodec, config: GeneratorTrainingConfig
) -> dict[tuple[int, bool], list[View]]:
    """Return the encoded training crops by (side in pixels, whether they are parts of a larger view)."""
    draw = torch.Generator().manual_seed(config.seed)
    views: dict[tuple[int, bool], list[View]] = {(side, local): [] for side in (256, 512) for local in (False, True)}
    for index, photo in enumerate(track(photos.split("train"), description="encoding")):
        image = to_tensor(photos.read(photo))
        for (side, local), encoded in views.items():
            for number in range(config.variants if side == 256 else config.variants // 2):
                enlargement = (2, 4)[number % 2] if local and side == 256 else 1 + local
                crop, time_ids = draw_view(image, side, enlargement, draw)
                encoded.append(View(codec.encode(crop)[0], index, time_ids))
    return views


def read_captions(path: Path, photos: PhotoSet) -> list[str]:
    """Return the caption of each training photograph, `UNKNOWN` where the file has none.

    Raises:
        UserError: The file is missing or is not a JSON object.
    """
    known = read_json(path)
    return [str(known.get(Path(photo.file).name, UNKNOWN)) for photo in photos.split("train")]


def velocity_loss(
    pipe: StableDiffusionXLPipeline, batch: list[View], captions: list[str], draw: torch.Generator, dropout: float
) -> Tensor:
    """Return the mean squared error of the predicted velocity at random times, one per image."""
    latents = torch.stack([view.latents for view in batch])
    scheduler: Any = pipe.scheduler
    times = torch.randint(scheduler.config.num_train_timesteps, (len(batch),), generator=draw)
    noise = torch.randn(latents.shape, generator=draw)
    noisy = scheduler.add_noise(latents, noise, times)
    target = scheduler.get_velocity(latents, noise, times)
    prompts, _, pooled, _ = pipe.encode_prompt(
        [captions[view.caption] for view in batch],  # pyright: ignore
        device=latents.device,
        do_classifier_free_guidance=False,
    )
    kept = (torch.rand(len(batch), generator=draw) >= dropout).to(prompts.dtype)  # zeros are the empty prompt
    conditioning = {
        "text_embeds": pooled * kept[:, None],
        "time_ids": torch.tensor([view.time_ids for view in batch], dtype=torch.float32),
    }
    predicted = pipe.unet(noisy, times, prompts * kept[:, None, None], added_cond_kwargs=conditioning).sample
    return F.mse_loss(predicted.float(), target)


class Training:
    """The state of a training: pipeline, averaged copy, optimiser and randomness; saved whole, resumed exactly."""

    def __init__(self, config: GeneratorTrainingConfig, channels: int, sizes: TinySDXLConfig | None = None):
        torch.manual_seed(config.seed)
        self.config, self.step, self.seconds = config, 0, 0.0
        self.pipe = build_tiny_sdxl(sizes or TinySDXLConfig(latent_channels=channels))
        self.averaged = {part: copy.deepcopy(getattr(self.pipe, part)).requires_grad_(False) for part in PARTS}
        self.optimizer = torch.optim.AdamW(
            parameters(self.pipe), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.draw = torch.Generator().manual_seed(config.seed)

    def update(self, views: dict[tuple[int, bool], list[View]], captions: list[str]) -> float:
        """Take one step and return its loss."""
        config, draw = self.config, self.draw
        large = float(torch.rand((), generator=draw)) < config.large_share
        batch = []
        for _ in range(max(1, config.batch_size // 4) if large else config.batch_size):
            pool = views[512 if large else 256, float(torch.rand((), generator=draw)) < config.local_share]
            batch.append(pool[int(torch.randint(len(pool), (), generator=draw))])
        warm = min(1.0, (self.step + 1) / config.warmup_steps)
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * self.step / config.steps)).item())
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * (0.02 + 0.98 * cosine)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            loss = velocity_loss(self.pipe, batch, captions, draw, config.caption_dropout)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters(self.pipe), 1.0)
        self.optimizer.step()
        decay = warmed_up(config.ema_decay, self.step)
        for part, averaged in self.averaged.items():
            torch._foreach_lerp_(list(averaged.parameters()), list(getattr(self.pipe, part).parameters()), 1 - decay)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        content = {
            "config": asdict(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "draw": self.draw.get_state(),
            "optimizer": self.optimizer.state_dict(),
            "parts": {part: getattr(self.pipe, part).state_dict() for part in PARTS},
            "averaged": {part: model.state_dict() for part, model in self.averaged.items()},
        }
        write_torch(path, content)

    def load(self, path: Path) -> None:
        """Go on where `save` left off.

        Raises:
            UserError: The state was saved with other settings.
        """
        content = torch.load(path, map_location="cpu", weights_only=True)
        changed = [key for key, value in asdict(self.config).items() if content["config"].get(key) != value]
        if changed:
            raise UserError(f"{path} was begun with another {', '.join(changed)}: delete it to start again")
        self.step, self.seconds = content["step"], content["seconds"]
        self.draw.set_state(content["draw"])
        self.optimizer.load_state_dict(content["optimizer"])
        for part, model in self.averaged.items():
            getattr(self.pipe, part).load_state_dict(content["parts"][part])
            model.load_state_dict(content["averaged"][part])


def train_generator(config: GeneratorTrainingConfig, sizes: TinySDXLConfig | None = None) -> dict[str, Any]:
    """Train as `config` says, write the pipeline to `config.out` and return its record.

    A training that was killed goes on from `config.state` with the numbers it would have had.
    """
    photos = PhotoSet.load(Path(config.photos))
    captions = read_captions(Path(config.captions), photos)
    codec = LatentCodec.from_pretrained(config.codec)
    training, state = Training(config, codec.channels, sizes), Path(config.state)
    if state.is_file():
        training.load(state)
    views = encode_views(photos, codec, config)
    losses: list[float] = []
    for _ in track(range(training.step, config.steps), description=Path(config.out).name):
        started = time.perf_counter()
        losses.append(training.update(views, captions))
        training.seconds += time.perf_counter() - started
        if training.step % config.checkpoint_every == 0:
            training.save(state)
            recent = losses[-config.checkpoint_every :]
            print(f"step {training.step}: loss {sum(recent) / len(recent):.4f}", flush=True)
    for part, model in training.averaged.items():
        getattr(training.pipe, part).load_state_dict(model.state_dict())
    folder = Path(config.out)
    training.pipe.to(torch.float16).save_pretrained(folder)
    results = {
        "loss": sum(losses[-200:]) / max(1, len(losses[-200:])),
        "minutes": training.seconds / 60,
        "threads": torch.get_num_threads(),
        "parameters": sum(value.numel() for value in parameters(training.pipe)),
        "photos_sha256": photos.sha256,
        "config": {name: value for name, value in asdict(config).items() if name not in ("out", "photos", "state")},
    }
    write_json(folder / "results.json", results, indent=2)
    write_card(folder, generator_card(folder.name, results, photos))
    return results
