"""The prompts of a benchmark: the protocol's own, or those of a user's file or folder."""

import json
from pathlib import Path
from typing import Any

from benchmarks.protocol import PROMPTS
from lua_lightning.errors import UserError, first_line

MOST_BYTES, LONGEST = 64 * 2**20, 4000  # of a file; characters of a prompt
FORMS = "one prompt to a line, a JSON list of texts, or a JSON object of captions by photograph"


def read_prompts(count: int, source: str | Path = "", most: int = 0) -> tuple[str, ...]:
    """Return the first prompts of a file or folder.

    Args:
        count: How many; 0 takes `most`, or as many as there are where a user's source has fewer.
        source: A text file with one prompt to a line, a JSON file with a list of texts or an object of captions by
            photograph (in the order of the names), or a folder with a `.txt` file beside each photograph. Empty takes
            the protocol's own prompts.
        most: What `count` is where it is 0.

    Raises:
        UserError: The source cannot be read, has fewer prompts, or holds one that is empty or too long.
    """
    path = Path(source).expanduser() if source else PROMPTS
    prompts = _of_folder(path) if path.is_dir() else _of_file(path)
    for number, prompt in enumerate(prompts, 1):
        if not prompt.strip() or len(prompt) > LONGEST:
            fault = "is empty" if not prompt.strip() else f"has {len(prompt)} characters, above {LONGEST}"
            raise UserError(f"{path}: prompt {number} {fault}: give a text of 1 to {LONGEST} characters")
    wanted = count or (min(most, len(prompts)) if source else most)
    if not prompts or wanted > len(prompts):
        more = "lower prompts, or give a longer file" if source else "lower prompts, or give a file: prompts_file=FILE"
        raise UserError(f"{path} has {len(prompts)} prompts, and {max(wanted, 1)} are asked for: {more}")
    return tuple(" ".join(prompt.split()) for prompt in prompts[:wanted])


def _of_folder(folder: Path) -> list[str]:
    """Return the captions beside the photographs of a folder, in the order of the names."""
    return [_text(path).strip() for path in sorted(folder.glob("*.txt"))]


def _of_file(path: Path) -> list[str]:
    text = _text(path)
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({first_line(error)}): give {FORMS}") from error
    if isinstance(content, dict):
        content = [content[name] for name in sorted(content)]
    if not isinstance(content, list) or not all(isinstance(prompt, str) for prompt in content):
        raise UserError(f"{path} holds something else than prompts: give {FORMS}")
    return content


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UserError(f"prompts_file={path} must be a file or a folder that is there: {FORMS}")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES // 2**20} MiB: give {FORMS}")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or first_line(error)}") from error
