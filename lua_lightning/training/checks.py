"""Refuse contradictory settings before anything is loaded."""

from lua_lightning.config import RunConfig
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.adapter import HEADS, SIZES, SKIPS
from lua_lightning.pairs.cache import SCALES
from lua_lightning.training.losses import active, check_weights

REDUCTIONS, NORMS = ("mean", "sum"), ("ortho", "backward", "forward")
CHOICES = {
    "cache.sampling": ("detail", "grid"),
    "cache.dtype": ("float16", "bfloat16", "float32"),
    "cache.verify": ("full", "size"),
    "adapter.size": tuple(SIZES),
    "adapter.skip": SKIPS,
    "adapter.head": (None, *HEADS),
    "optim.name": ("adamw", "adam"),
    "optim.schedule": ("cosine", "multistep"),
    "loss_options.pixel_target": ("decoded", "photo"),
    "loss_options.fft_norm": NORMS,
    "loss_options.fft_reduction": REDUCTIONS,
    "loss_options.eagle_high_pass": ("lua", "eagle"),
    "loss_options.eagle_norm": NORMS,
    "loss_options.eagle_reduction": REDUCTIONS,
    "train.precision": ("auto", "32-true", "bf16-mixed"),
    "train.decoder_precision": ("32-true", "bf16-mixed"),
}
POSITIVE = (
    "cache.crop_px",
    "cache.crops_per_photo",
    "cache.held_out_crops_per_photo",
    "cache.held_out_photos",
    "cache.shard_pairs",
    "loss_options.high_frequency_sigma",
    "loss_options.eagle_cutoff",
    "optim.learning_rate",
    "optim.gradient_clip",
    "train.steps",
    "train.batch_size",
    "train.accumulate",
    "train.crop_latents",
    "train.decode_chunk",
    "train.log_every",
    "train.checkpoint_every",
    "validation.every",
)


def value_of(config: RunConfig, key: str) -> object:
    """Return the setting with a dotted key."""
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def check_run(config: RunConfig) -> None:
    """Refuse settings that no run could use.

    Raises:
        UserError: In one sentence, with the setting's name and what would be right.
    """
    for key, choices in CHOICES.items():
        if value_of(config, key) not in choices:
            raise unknown_name(key, str(value_of(config, key)), [choice for choice in choices if choice])
    for key in POSITIVE:
        if not value_of(config, key) > 0:  # type: ignore[operator]
            raise UserError(f"{key}={value_of(config, key)} must be above 0")
    check_weights(config.loss)
    if active(config.loss, "pixel"):
        _check_pixel_terms(config)
    if not 0 <= config.train.joint_fraction <= 1:
        raise UserError(f"train.joint_fraction={config.train.joint_fraction} must lie between 0 and 1")
    if config.adapter.residual_bound < 0:
        raise UserError(f"adapter.residual_bound={config.adapter.residual_bound} must be 0 (no bound) or more")
    if config.adapter.transfer and not config.adapter.init_from:
        raise UserError("adapter.transfer=true needs adapter.init_from, the adapter to transfer")
    if config.cache.through and config.cache.codec != "rgb":
        raise UserError(f"cache.through={config.cache.through} needs cache.codec=rgb: latents are coded once already")
    scales = config.adapter.scales
    if not scales or set(scales) - set(SCALES):
        raise UserError(f"adapter.scales={list(scales)} must be drawn from {list(SCALES)}")
    if config.cache.crop_px % (8 * max(SCALES)):
        raise UserError(
            f"cache.crop_px={config.cache.crop_px} must be a multiple of {8 * max(SCALES)}, "
            "so that the x4 input has whole latents"
        )
    if config.optim.schedule == "multistep" and not config.optim.milestones:
        raise UserError("optim.schedule=multistep needs optim.milestones, the steps at which the rate is halved")
    if config.optim.schedule == "cosine" and config.optim.warmup_steps >= config.train.steps:
        raise UserError(
            f"optim.warmup_steps={config.optim.warmup_steps} leaves nothing of train.steps={config.train.steps}: "
            "lower the warm-up or train longer"
        )
    if config.optim.skip_rate < 0:
        raise UserError(f"optim.skip_rate={config.optim.skip_rate} must be 0 (keeps a linear skip as fitted) or more")
    if not 0 <= config.optim.ema_decay < 1:
        raise UserError(f"optim.ema_decay={config.optim.ema_decay} must be at least 0 and below 1")
    if config.adapter.swin_weights and config.adapter.init_from:
        raise UserError("adapter.swin_weights and adapter.init_from both say where the trunk starts: set one of them")


def _check_pixel_terms(config: RunConfig) -> None:
    settings, options = config.train, config.loss_options
    decoded = settings.decode_latents + 2 * settings.decode_margin if settings.decode_latents else 0
    if settings.decode_latents < 0 or settings.decode_margin < 0 or decoded > settings.crop_latents:
        raise UserError(
            f"train.decode_latents={settings.decode_latents} with train.decode_margin={settings.decode_margin} on each "
            f"side does not fit the patch, train.crop_latents={settings.crop_latents}: lower one of them"
        )
    if options.high_frequency_kernel % 2 == 0 or options.high_frequency_kernel < 1:
        raise UserError(f"loss_options.high_frequency_kernel={options.high_frequency_kernel} must be odd")
    if options.pixel_target == "photo" and not config.cache.train_pixels:
        raise UserError("loss_options.pixel_target=photo needs the training crops' pixels: set cache.train_pixels=true")
