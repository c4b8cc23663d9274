"""Find lines of Markdown that are too long: `python -m docs.line_length FILES`; no file means all that git knows."""

import subprocess
import sys
from pathlib import Path

from lua_lightning.markdown import WIDTH


def long_lines(path: Path) -> list[str]:
    """Return `FILE:LINE: LENGTH characters` of every line past `WIDTH` but tables, pictures and what has no spaces."""
    return [
        f"{path}:{number}: {len(line)} characters, at most {WIDTH} are allowed"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > WIDTH and not line.lstrip().startswith(("|", "![")) and " " in line.strip()
    ]


def main(arguments: list[str]) -> int:
    """Print the long lines of the given files and return 1 if there are any, else 0."""
    names = arguments or subprocess.check_output(["git", "ls-files", "*.md"], text=True).splitlines()
    found = [line for name in names for line in long_lines(Path(name))]
    print("\n".join(found) or f"{len(names)} Markdown files have no long lines")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
