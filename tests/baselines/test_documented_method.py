"""The method that the documentation shows runs as it stands there."""

import re
from pathlib import Path

from baselines import registry
from baselines.contract import Start
from baselines.registry import METHODS, build_method

PAGE = Path(__file__).parents[2] / "docs/methods.md"


def test_the_documented_method_runs(world, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "(Method)" in block]
    (line,) = [block.strip() for block in blocks if block.lstrip().startswith('"sharpened"')]
    (tmp_path / "sharpened.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    name, place = (text.strip(' ",') for text in line.split(":", 1))
    monkeypatch.setitem(METHODS, name, place.replace("baselines.", ""))
    start: Start = world.start("a lake", 5, 64)
    images = [build_method(name, world, [f"amount={amount}"]).run(start, 128).image for amount in (0, 2)]
    assert images[0].shape == (1, 3, 128, 128)
    assert images[0].equal(build_method("pixel-bicubic", world).run(start, 128).image)
    assert not images[0].equal(images[1])


def test_every_method_is_documented():
    text = PAGE.read_text()
    assert [name for name in registry.METHODS if f"| `{name}` |" not in text] == []
