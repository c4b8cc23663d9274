"""One training run from configuration to adapter folder, card and JSON line."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.strategies import DDPStrategy

from lua_lightning.checkout import how_to_see_runs
from lua_lightning.config import RunConfig, TrainConfig, to_yaml
from lua_lightning.environment import best_device, native_bf16, run_info, use_tensor_cores
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import write_scores
from lua_lightning.evaluation.tables import print_scores
from lua_lightning.files import write_json, write_text
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.datamodule import PairDataModule
from lua_lightning.pairs.photos import MANIFEST_NAME, PhotoSet
from lua_lightning.signals import resumable
from lua_lightning.tracking.names import run_name
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.adversary import adapter_module
from lua_lightning.training.callbacks import CleanStop, ImageGrids, Progress, Together
from lua_lightning.training.cards import HISTORY, adapter_card, read_history, training_record, write_card
from lua_lightning.training.checkpoints import (
    LastCheckpoint,
    WholeCheckpoints,
    best_checkpoint,
    step_of,
    to_resume_from,
)
from lua_lightning.training.checks import check_run
from lua_lightning.training.module import AdapterModule
from lua_lightning.training.runs import (
    CODEC,
    CONFIG,
    PHOTOGRAPHS,
    RESULTS,
    SCORES,
    START,
    begin_or_check,
    folder_to_resume,
    held,
    is_rank_zero,
    new_folder,
    starting_point,
)

CHECKPOINTS = "checkpoints"  # folder inside that of a run


def build_adapter(config: RunConfig, codec: LatentCodec, init_from: str | None) -> LatentUpscaler:
    """Return the network that a run starts from.

    Args:
        config: The run.
        codec: Of the latents.
        init_from: What `adapter.init_from` resolved to (see `starting_point`).

    Raises:
        UserError: The weights to start from do not fit the codec or the asked size.
    """
    settings = config.adapter
    if init_from:
        adapter = LatentUpscaler.from_pretrained(init_from)
        adapter.config = replace(
            adapter.config, residual_bound=settings.residual_bound or adapter.config.residual_bound
        )
        if settings.transfer:
            adapter = adapter.for_codec(codec.channels, codec.source, codec.downscale)
        elif adapter.config.channels != codec.channels:
            raise UserError(
                f"adapter.init_from={init_from} works on {adapter.config.channels} {adapter.config.space} "
                f"channels, but {codec.source} has {codec.channels} normalised ones: choose an adapter of that codec, "
                "or set adapter.transfer=true to give it new ends"
            )
        if set(settings.scales) - set(adapter.config.scales):
            raise UserError(
                f"adapter.init_from={init_from} has heads for {list(adapter.config.scales)}, "
                f"not for all of adapter.scales={list(settings.scales)}"
            )
        adapter.gradient_checkpointing = settings.gradient_checkpointing
        return adapter.train()
    adapter = LatentUpscaler(
        AdapterConfig.sized(
            settings.size,
            channels=codec.channels,
            codec=codec.source,
            scales=settings.scales,
            skip=settings.skip,
            downscale=codec.downscale,
            residual_bound=settings.residual_bound,
            **{name: value for name in ("head", "head_dim") if (value := getattr(settings, name)) is not None},
        )
    )
    if settings.swin_weights:
        adapter.warm_start(settings.swin_weights)
    adapter.gradient_checkpointing = settings.gradient_checkpointing
    return adapter


def trainer_precision(settings: TrainConfig) -> Any:
    """Return Lightning's name of the precision to train in."""
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if native_bf16() else "32-true"


def make_trainer(config: RunConfig, tracker: MLflowTracker, folder: Path, stop: CleanStop) -> L.Trainer:
    """Return the Lightning trainer of a run."""
    settings = config.train
    callbacks: list[Callback] = [
        Together(folder, tracker),
        stop,
        ImageGrids(tracker),
        LearningRateMonitor("step"),
        Progress(leave=True),
        best_checkpoint(folder / CHECKPOINTS, f"val/x{min(config.adapter.scales)}/psnr"),
        stop.last,  # behind the best one, whose score it holds
    ]
    trainer = L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        precision=trainer_precision(settings),
        max_steps=settings.steps,
        max_epochs=1,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=config.optim.gradient_clip,
        val_check_interval=min(config.validation.every, settings.steps) * settings.accumulate,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_every,
        logger=tracker,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    if isinstance(trainer.strategy, DDPStrategy):  # gradients without a second copy; the buffers are constants
        trainer.strategy._ddp_kwargs.update(gradient_as_bucket_view=True, broadcast_buffers=False)
    return trainer


def train(
    config: RunConfig,
    resume: str | None = None,
    folder: Path | None = None,
    parent_run_id: str | None = None,
    command: str = "lua-lightning train config.yaml",
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the training that `config` describes and return its closing numbers.

    Args:
        config: The run; refused here when contradictory.
        resume: None for a new run, `auto` for the newest unfinished one of the same name, or its folder.
        folder: Of a new run; chosen by name and time when not given.
        parent_run_id: MLflow run that this one is shown under.
        command, overrides: How to train it again, for the adapter's card; what that changed, for MLflow's run name.

    Raises:
        UserError: A setting or a file is wrong, another process holds the run, or its photographs or codec changed.
        Stopped: A signal ended it, with a checkpoint.
    """
    check_run(config)
    quiet()
    use_tensor_cores(best_device())
    L.seed_everything(config.seed, verbose=False)
    resumed = folder_to_resume(config, resume) if resume else None
    init_from = starting_point(config, resumed)
    photos, codec = PhotoSet.load(config.data.photos), LatentCodec.from_pretrained(config.cache.codec)
    codec.mixed_precision = config.train.decoder_precision == "bf16-mixed"
    adapter = build_adapter(config, codec, init_from)
    folder = resumed or folder or new_folder(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(resumable(f"the same command with `--resume {folder}` (make: RESUME=1) goes on"))
        stack.enter_context(held(folder))
        begin_or_check(folder, {PHOTOGRAPHS: photos.sha256, CODEC: codec.sha256()})
        if is_rank_zero():
            write_text(folder / CONFIG, to_yaml(config))
            write_text(folder / START, (init_from or "") + "\n")
        tracker = stack.enter_context(make_tracker(config, folder, init_from, codec, parent_run_id, overrides))
        tracker.log_run_start(to_yaml(config), Path(config.data.photos) / MANIFEST_NAME)
        module = adapter_module(config, adapter, codec)
        results = fit(config, module, PairDataModule(config, codec), tracker, folder, bool(resume))
        if is_rank_zero():
            write_scores(folder / SCORES, module.crop_scores)
            history = [*read_history(init_from), training_record(config, results)]
            card = adapter_card(config, history, module.crop_scores, photos, command)
            export(module.averaged, folder, config, card, history)
            tracker.log_artifact(folder / "adapter")
            write_json(folder / RESULTS, results)  # marks the run as finished, whose records are all kept by now
    return results


def make_tracker(
    config: RunConfig,
    folder: Path,
    init_from: str | None,
    codec: LatentCodec,
    parent_run_id: str | None,
    overrides: Sequence[str] = (),
) -> MLflowTracker:
    """Return the tracker of a run, which is the one that its folder knows where it is resumed."""
    tags = {"stage": config.stage, "codec": codec.source, "folder": folder.as_posix()}
    if init_from:
        tags["init_from"] = init_from
    if parent_run_id:
        tags["mlflow.parentRunId"] = parent_run_id
    return MLflowTracker(
        config.tracking.experiment,
        run_name(config.name, overrides),
        folder,
        tags=tags,
        system_metrics=config.tracking.system_metrics,
    )


def fit(
    config: RunConfig, module: AdapterModule, data: PairDataModule, tracker: MLflowTracker, folder: Path, resume: bool
) -> dict[str, Any]:
    """Train to the end, from the last checkpoint where there is one, and return the closing numbers."""
    stop = CleanStop(tracker, LastCheckpoint(folder / CHECKPOINTS, config.train.checkpoint_every))
    trainer = make_trainer(config, tracker, folder, stop)
    checkpoint, damaged = to_resume_from(folder / CHECKPOINTS)
    if resume and is_rank_zero():
        for sentence in damaged:
            print(sentence, file=sys.stderr)
        print(f"resuming {folder} from {f'step {step_of(checkpoint)}' if checkpoint else 'its beginning'}")
    with stop:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if module.scored_step != trainer.global_step:  # not a multiple of validation.every, or resumed there
        trainer.validate(module, data, verbose=False)
    return {
        **validation_scores(trainer),
        "stage": config.stage,
        "steps": trainer.global_step,
        "images_per_second": module.throughput.images_per_second,
        "data_wait": module.throughput.data_wait,
        "hours": module.throughput.seconds / 3600,
        "device": run_info()["device"],
        "adapter": str(folder / "adapter"),
        "folder": str(folder),
        "run_id": tracker.run_id,
    }


def export(
    adapter: LatentUpscaler,
    folder: Path,
    config: RunConfig,
    card: str,
    history: list[dict[str, Any]],
) -> None:
    """Write the adapter's folder."""
    adapter.save_pretrained(folder / "adapter")
    write_text(folder / "adapter" / CONFIG, to_yaml(config))
    write_json(folder / "adapter" / HISTORY, history)
    write_card(folder / "adapter", card)


def validation_scores(trainer: L.Trainer) -> dict[str, float]:
    """Return the last validation's numbers under their tracked names."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}


def quiet() -> None:
    """Keep standing advice off the screen; each piece was considered and does not apply here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # slices of memory-mapped shards need none
        ".*dataloader is not resumable.*",  # StreamSampler starts at the trainer's step
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*callbacks used to create the checkpoint.*",  # of a version that saved the last one by another callback
        ".*sync_dist=True.*",  # what is logged was averaged or gathered before
    ):
        warnings.filterwarnings("ignore", message=message)


def print_card(results: dict[str, Any]) -> None:
    """Print the closing table, the speed and where everything is."""
    scores = {name.removeprefix("val/"): value for name, value in results.items() if name.startswith("val/")}
    print_scores(scores, "validation photographs, averaged weights")
    print(
        f"{results['images_per_second']:.1f} images/s, {results['data_wait']:.0%} of the time waiting for data; "
        f"adapter in {results['adapter']}; {how_to_see_runs()} shows the run",
        file=sys.stderr,
    )
