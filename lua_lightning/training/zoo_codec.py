"""Build an embedded autoencoder: principal components first, then the residual networks, on one CPU in minutes."""

import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from lua_lightning.evaluation.fidelity import mean_psnr
from lua_lightning.evaluation.registry import METRICS
from lua_lightning.files import write_json
from lua_lightning.images import downscale, to_tensor
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig
from lua_lightning.pairs.crops import detail_map, dihedral, draw_apart, draw_positions
from lua_lightning.pairs.photos import PhotoSet, Split
from lua_lightning.training.cards import codec_card, write_card
from lua_lightning.training.zoo_config import CodecTrainingConfig

PSNR = METRICS["psnr"]


def load_pyramids(photos: PhotoSet, split: Split, crop: int, max_reduction: int) -> list[Tensor]:
    """Return every photograph of `split`, at full size and reduced 2x, 4x, ..., as (1, 3, H, W) in [-1, 1]."""
    images = []
    for photo in photos.split(split):
        image = to_tensor(photos.read(photo))
        factor = 1
        while factor <= max_reduction and min(image.shape[-2:]) >= crop:
            images.append(image)
            image, factor = downscale(image, 2), factor * 2
    return images


class CropStream:
    """Batches of random crops, by detail, in random orientation."""

    def __init__(self, images: list[Tensor], crop: int, seed: int):
        self.images, self.crop = images, crop
        self.generator = torch.Generator().manual_seed(seed)
        self.positions = [draw_positions(image, crop, 2000, self.generator) for image in images]
        self.areas = torch.tensor([float(image.shape[-1] * image.shape[-2]) ** 0.5 for image in images])

    def batch(self, count: int) -> Tensor:
        """Return (count, 3, crop, crop) in [-1, 1]; large images are drawn more often, by the root of their area."""
        crops = []
        for index in torch.multinomial(self.areas, count, replacement=True, generator=self.generator).tolist():
            pick, symmetry = torch.randint(2000, (2,), generator=self.generator).tolist()
            top, left = self.positions[index][pick]
            shift_y, shift_x = torch.randint(8, (2,), generator=self.generator).tolist()
            image = self.images[index]
            top = min(top + shift_y, image.shape[-2] - self.crop)
            left = min(left + shift_x, image.shape[-1] - self.crop)
            crops.append(dihedral(image[..., top : top + self.crop, left : left + self.crop], symmetry % 8))
        return torch.cat(crops)


def held_out_crops(photos: PhotoSet, split: Split, crop: int = 256, per_photo: int = 10) -> Tensor:
    """Return detailed crops of the photographs of `split`, none overlapping, (N, 3, crop, crop) in [-1, 1].

    They are the more detailed half of `per_photo` crops from each photograph: flat ones, which any codec restores to
    50 dB and more, would outweigh all others in a mean PSNR.
    """
    crops = []
    generator = torch.Generator().manual_seed(0)
    for photo in photos.split(split):
        image = to_tensor(photos.read(photo))
        for top, left in draw_apart(image, crop, per_photo, generator):
            crops.append(image[..., top : top + crop, left : left + crop])
    crops.sort(key=lambda image: float(detail_map(image, crop)), reverse=True)
    return torch.cat(crops[: -(-len(crops) // 2)])


@torch.no_grad()
def round_trip_psnr(model: PatchAutoencoder, crops: Tensor, linear: bool = False) -> float:
    """Return the mean PSNR (dB, 8-bit) of decode(encode(x)); `linear` leaves the residual networks out."""
    outputs = []
    for batch in crops.split(8):
        if linear:
            patches = F.pixel_unshuffle(batch, model.config.patch_size)
            outputs.append(F.pixel_shuffle(model.synthesis(model.analysis(patches)), model.config.patch_size))
        else:
            outputs.append(model.decode(model.encode(batch)))
    return mean_psnr(torch.cat(outputs), crops)


@torch.no_grad()
def latent_statistics(model: PatchAutoencoder, stream: CropStream, batches: int = 20) -> tuple[float, float]:
    """Return the overall mean and standard deviation of raw latents."""
    latents = torch.cat([model.encode(stream.batch(16)).flatten() for _ in range(batches)])
    return float(latents.mean()), float(latents.std())


def _set_linear_code(model: PatchAutoencoder, stream: CropStream, config: CodecTrainingConfig) -> None:
    """Set the linear code to the principal components of the patches of random crops."""
    per_crop = (config.crop_px // model.config.patch_size) ** 2
    crops = torch.cat([stream.batch(16) for _ in range(-(-config.pca_patches // (16 * per_crop)))])
    patches = F.pixel_unshuffle(crops, model.config.patch_size).permute(0, 2, 3, 1).flatten(0, 2)
    model.set_linear_code(patches)


def _optimise(
    model: PatchAutoencoder,
    stream: CropStream,
    config: CodecTrainingConfig,
    spread: float,
    val: Tensor,
    linear_psnr: float,
) -> None:
    """Train the residual networks on L1, with noise of a share of the latents' `spread`; tell what `val` reaches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.05
    )
    for step in track(range(config.steps), description=Path(config.out).name):
        images = stream.batch(config.batch_size)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            latents = model.encode(images)
            noise = torch.randn(latents.shape, generator=stream.generator) * (config.latent_noise * spread)
            loss = F.l1_loss(model.decode(latents + noise).float(), images)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            reached = round_trip_psnr(model, val)
            shown = f"{PSNR.text(reached)} {PSNR.unit} (linear {PSNR.text(linear_psnr)})"
            print(f"step {step + 1}: validation {PSNR.label} {shown}", flush=True)


def _normalised(model: PatchAutoencoder, stream: CropStream) -> PatchAutoencoder:
    """Return the trained autoencoder with shift and scale that give its latents mean 0 and deviation 1."""
    shift, spread = latent_statistics(model, stream)
    final = PatchAutoencoder(
        PatchAutoencoderConfig(**{**asdict(model.config), "scaling_factor": 1 / spread, "shift_factor": shift})
    )
    final.load_state_dict(model.state_dict())
    return final


def train_codec(config: CodecTrainingConfig) -> dict:
    """Train one autoencoder as `config` says, write it to `config.out` and return its measured results."""
    torch.manual_seed(config.seed)
    photos = PhotoSet.load(Path(config.photos))
    stream = CropStream(
        load_pyramids(photos, "train", config.crop_px, config.max_reduction), config.crop_px, config.seed
    )
    val, test = (held_out_crops(photos, split) for split in ("val", "test"))
    architecture = PatchAutoencoderConfig(
        latent_channels=config.latent_channels,
        width=config.width,
        encoder_blocks=config.encoder_blocks,
        decoder_blocks=config.decoder_blocks,
    )
    model = PatchAutoencoder(architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _set_linear_code(model, stream, config)
    linear_psnr = {name: round_trip_psnr(model, crops, linear=True) for name, crops in (("val", val), ("test", test))}
    _, spread = latent_statistics(model, stream)
    started = time.perf_counter()
    _optimise(model, stream, config, spread, val, linear_psnr["val"])
    final = _normalised(model, stream)
    folder = Path(config.out)
    final.save_pretrained(folder)
    results = {
        "test_crops": len(test),
        "psnr_linear": linear_psnr["test"],
        "psnr": round_trip_psnr(PatchAutoencoder.from_pretrained(folder), test),
        "minutes": (time.perf_counter() - started) / 60,
        "threads": torch.get_num_threads(),
        "photos_sha256": photos.sha256,
        "config": {name: value for name, value in asdict(config).items() if name not in ("out", "photos")},
    }
    write_json(folder / "results.json", results, indent=2)
    write_card(folder, codec_card(folder.name, results, photos))
    return results
