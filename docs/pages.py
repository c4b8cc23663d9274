"""Where the documentation is, and how its generated parts are written."""

from pathlib import Path

from lua_lightning.files import write_text

ROOT = Path(__file__).parent.parent


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `name` in a Markdown file.

    Raises:
        ValueError: The file lacks a marker; nothing is written.
    """
    content = path.read_text()
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, after = content.index(start) + len(start), content.index(end)
    write_text(path, f"{content[:before]}\n{text}\n{content[after:]}")
