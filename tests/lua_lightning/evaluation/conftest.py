"""Files that the tests of feature networks share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def files(tmp_path):
    """Three images of noise."""
    draw = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return paths
