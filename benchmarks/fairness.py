"""The fairness audit: on what terms the methods of a benchmark were measured, as facts, not as a verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from baselines.contract import adapter_dtype
from baselines.registry import method_class
from benchmarks.benchmark import Benchmark
from benchmarks.duplicates import near_duplicates
from benchmarks.store import Record

NOT_TOLD = "not recorded"


def audit(
    benchmark: Benchmark, records: Mapping[str, Sequence[Record]], rows: Sequence[Mapping[str, Any]], device: str
) -> dict[str, Any]:
    """Return the facts that `results.json` holds under `fairness`.

    Args:
        benchmark: What was measured.
        records: What each method took.
        rows: The rows of results.
        device: Where this benchmark's methods ran.
    """
    every = [record for taken in records.values() for record in taken]
    enlarging = [name for name in records if method_class(name).enlarges]
    return {
        "start": {
            "base_size": benchmark.base_size,
            "same_prompts_and_seeds": _same_starts(records),
            "from_the_same_latents": enlarging,
            "sample_anew": [name for name in records if name not in enlarging],
        },
        "precision": precision(benchmark, device),
        "threads": _distinct(record.threads for record in every),
        "devices": _distinct(record.device for record in every),
        "steps": benchmark.steps or "published",
        "warm_ups": {name: _distinct(record.warm_ups for record in taken) for name, taken in records.items()},
        "seconds": {
            "include": {name: [*taken[0].seconds] for name, taken in records.items()},
            "sampled_once_for_all": {name: [*taken[0].shared] for name, taken in records.items() if taken[0].shared},
            "leave_out": ["loading of weights", "warm-ups", "writing of images"],
        },
        "images": {
            track: {row["method"]: row["n"] for row in rows if row["track"] == track}
            for track in ("reconstruction", "generation")
        },
        "made_elsewhere": {
            row["method"]: {"device": row["device"], "same_seeds": _same_seeds(benchmark, row)}
            for row in rows
            if row.get("device")
        },
        "near_duplicates": near_duplicates(benchmark.photos),
    }


def precision(benchmark: Benchmark, device: str) -> dict[str, str]:
    """Return the number format of each kind of network on a device."""
    cpu = device == "cpu"
    other = "float32" if cpu else "float32, products in TF32"
    return {
        "generator and autoencoder": "float32" if cpu else benchmark.facts.dtype,
        "adapter": str(adapter_dtype(device)).removeprefix("torch."),
        "other networks": other if device.startswith(("cpu", "cuda")) else "float32",
    }


def _same_seeds(benchmark: Benchmark, row: Mapping[str, Any]) -> bool:
    """Return whether images made elsewhere have the seeds that the benchmark gives their prompts."""
    return all(
        seed == benchmark.config.seed + prompt for prompt, seed in zip(row["prompts"], row["seeds"], strict=True)
    )


def _same_starts(records: Mapping[str, Sequence[Record]]) -> bool:
    """Return whether every method's images have the same prompts, seeds and sizes."""
    return len({tuple((one.index, one.prompt, one.seed, one.size) for one in of) for of in records.values()}) <= 1


def _distinct(values: Any) -> list[Any]:
    return sorted({value if value is not None else NOT_TOLD for value in values}, key=str)


def told(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as pairs of a name and a sentence or list, for the report."""
    if not facts:
        return []
    start, near, seconds = facts["start"], facts["near_duplicates"], facts["seconds"]
    pairs = "; ".join(f"{pair['train']} and {pair['judged']} ({pair['bits']} bits)" for pair in near["pairs"])
    brought = [
        f"{name} on {origin['device']}, {'the same' if origin['same_seeds'] else 'other'} seeds"
        for name, origin in facts.get("made_elsewhere", {}).items()
    ]
    once = [f"{name} ({_list(phases)})" for name, phases in seconds["sampled_once_for_all"].items()]
    return [
        ("start", f"the same latents of {start['base_size']} px: {_list(start['from_the_same_latents'])}; "
                  f"sampled anew from the prompt: {_list(start['sample_anew'])}"),
        ("prompts and seeds", "equal for all methods" if start["same_prompts_and_seeds"] else "not equal"),
        ("precision", _list(f"{name} {text}" for name, text in facts["precision"].items())),
        ("threads", _list(facts["threads"])),
        ("devices", _list(facts["devices"])),
        ("made elsewhere, times as told", "; ".join(brought) or "none"),
        ("denoising steps", str(facts["steps"])),
        ("warm-ups", _list(f"{name} {_list(counts)}" for name, counts in facts["warm_ups"].items())),
        ("seconds include", _list(f"{name}: {' + '.join(phases)}" for name, phases in seconds["include"].items())),
        ("timed once for several", _list(once)),
        ("seconds leave out", _list(seconds["leave_out"])),
        *((f"images, {track}", _list(f"{name} {count}" for name, count in counts.items()))
          for track, counts in facts["images"].items()),
        ("near-duplicates", f"{near['near']} pairs of {near['train']} training and {near['judged']} judging "
                            f"photographs differ by at most {near['threshold']} of 64 bits of dHash; the closest by "
                            f"{near['closest']}" + (f": {pairs}" if pairs else "")),
    ]  # fmt: skip


def _list(values: Any) -> str:
    return ", ".join(map(str, values)) or "none"
