"""The models that ship inside the package, one folder each."""

from pathlib import Path

ZOO = Path(__file__).parent
