"""What MLflow takes as names and values: limits, checks and flat parameters."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

# MLflow's limits.
PARAMS_PER_BATCH = 100
PARAM_LENGTH = 6000
PLACES = ("name", "runs", "data.photos", "photos", "cache.folder", "tracking.experiment")  # settings of no result
NAME_LENGTH = 250
NAME_CHARACTERS = r"\w\-. :/"  # of metrics and parameters
NAME_PATTERN = re.compile(f"[{NAME_CHARACTERS}]+")
IMAGE_KEY_PATTERN = re.compile(r"[a-zA-Z0-9_\-./ ]+")


def check_name(kind: str, name: str, pattern: re.Pattern[str]) -> None:
    # Refused here, at the call that gave it: MLflow would refuse it later, in the sender, and all that follows with it.
    plain = posixpath.normpath(name) == name and not name.startswith(("/", "."))
    if not pattern.fullmatch(name) or not plain or len(name) > NAME_LENGTH:
        raise ValueError(
            f"{kind} name {name!r} may only contain letters, digits and _ - . / and spaces, be a plain relative path, "
            f"and have at most {NAME_LENGTH} characters"
        )


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings under dotted names, as MLflow takes them: strings as they are, all else as JSON, cut."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = text[:PARAM_LENGTH]
    return flat


def plain_name(text: str) -> str:
    """Return a name with a space for each character that MLflow refuses in those of metrics and parameters."""
    return re.sub(f"[^{NAME_CHARACTERS}]", " ", text).strip()


def run_name(name: str, overrides: Sequence[str]) -> str:
    """Return the name of a run with the settings that its command changed, so that a list of runs tells them apart.

    Args:
        name: What the experiment is called.
        overrides: `key=value` texts of the command; those that only say where things are left out.
    """
    shown = [text for text in overrides if text.partition("=")[0].rpartition(":")[2] not in PLACES]
    return " ".join([name, *shown])[:NAME_LENGTH]


def chunks(items: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    pairs = iter(items.items())
    while chunk := dict(islice(pairs, size)):
        yield chunk
