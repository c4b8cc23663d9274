"""What every HTML page of ours needs: data that cannot break out of its element, and files inside the file."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QUALITY = 93
TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def embedded(content: Any) -> str:
    """Return JSON for a `<script type="application/json">` element, in which no text opens or closes anything."""
    text = json.dumps(content)  # everything beyond ASCII is escaped already
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def jpeg_uri(pixels: np.ndarray, quality: int = QUALITY) -> str:
    """Return uint8 pixels (H, W, 3) as a JPEG data URI, its colours as finely sampled as its brightness."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def file_uri(path: Path) -> str:
    """Return a PNG or SVG file as it is, as a data URI."""
    return f"data:{TYPES[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode()
