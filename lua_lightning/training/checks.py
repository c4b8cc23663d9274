"""Refuse contradictory settings before anything is loaded."""

import torch

from lua_lightning.bounds import check
from lua_lightning.config import RunConfig
from lua_lightning.errors import UserError
from lua_lightning.training.losses import active, check_weights


def check_run(config: RunConfig) -> None:
    """Refuse settings that no run could use: out of their bounds, at odds with each other, or with this machine.

    Raises:
        UserError: In one sentence, with the setting's name and what would be right.
    """
    check(config)
    _check_devices(config)
    check_weights(config.loss)
    if active(config.loss, "pixel"):
        _check_pixel_terms(config)
    if config.adversary.weight and not config.loss.get("pixel_l1"):
        raise UserError(
            f"adversary.weight={config.adversary.weight} needs loss.pixel_l1 above 0, which keeps the images faithful"
        )
    if config.adapter.transfer and not config.adapter.init_from:
        raise UserError("adapter.transfer=true needs adapter.init_from, the adapter to transfer")
    if config.cache.through and config.cache.codec != "rgb":
        raise UserError(f"cache.through={config.cache.through} needs cache.codec=rgb: latents are coded once already")
    if config.optim.schedule == "multistep" and not config.optim.milestones:
        raise UserError("optim.schedule=multistep needs optim.milestones, the steps at which the rate is halved")
    if config.optim.schedule == "cosine" and config.optim.warmup_steps >= config.train.steps:
        raise UserError(
            f"optim.warmup_steps={config.optim.warmup_steps} leaves nothing of train.steps={config.train.steps}: "
            "lower the warm-up or train longer"
        )
    if config.adapter.swin_weights and config.adapter.init_from:
        raise UserError("adapter.swin_weights and adapter.init_from both say where the trunk starts: set one of them")


def _check_devices(config: RunConfig) -> None:
    """Refuse an accelerator that this machine lacks, and more devices of it than there are."""
    wanted, cuda, mps = config.train.accelerator, torch.cuda.device_count(), torch.backends.mps.is_available()
    here = {"auto": True, "cpu": True, "cuda": cuda > 0, "gpu": cuda > 0 or mps, "mps": mps}
    if not here[wanted]:
        raise UserError(
            f"train.accelerator={wanted} is not here: this machine, or this build of PyTorch, has none; "
            "leave the setting out, or give cpu"
        )
    text = config.train.devices
    if wanted == "cpu" or not (cuda or mps) or text in ("auto", "-1"):
        return
    most = cuda or 1
    indices = [int(part) for part in text.split(",") if part] if "," in text else [int(text) - 1]
    if max(indices) >= most or len(set(indices)) < len(indices):
        raise UserError(f"train.devices={text} asks for devices that are not here: this machine has {most}")


def _check_pixel_terms(config: RunConfig) -> None:
    settings, options = config.train, config.loss_options
    decoded = settings.decode_latents + 2 * settings.decode_margin if settings.decode_latents else 0
    if decoded > settings.crop_latents:
        raise UserError(
            f"train.decode_latents={settings.decode_latents} with train.decode_margin={settings.decode_margin} on each "
            f"side does not fit the patch, train.crop_latents={settings.crop_latents}: lower one of them"
        )
    if options.pixel_target == "photo" and not config.cache.train_pixels:
        raise UserError("loss_options.pixel_target=photo needs the training crops' pixels: set cache.train_pixels=true")
