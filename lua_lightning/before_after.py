"""Two pictures under a slider, as HTML that needs nothing else: for notebooks and pages."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

FRAME = """<div style="--at:50%;position:relative;max-width:{width}px">
<img alt="{after_label}" style="display:block;width:100%" src="{after}">
<img alt="{before_label}" src="{before}"
 style="position:absolute;top:0;left:0;width:100%;clip-path:inset(0 calc(100% - var(--at)) 0 0)">
<input type="range" min="0" max="100" value="50" aria-label="from {before_label} to {after_label}"
 style="width:100%;margin:4px 0" oninput="this.parentNode.style.setProperty('--at',this.value+'%')">
<div style="display:flex;justify-content:space-between"><span>{before_label}</span><span>{after_label}</span></div>
</div>"""


@dataclass(frozen=True)
class BeforeAfter:
    """Two pictures of one thing; a notebook shows them over each other, with a slider that uncovers one or the other.

    >>> from PIL import Image
    >>> pair = BeforeAfter(Image.new("RGB", (30, 20)), Image.new("RGB", (60, 40), "white"))
    >>> pair._repr_html_()[:4]
    '<div'

    Attributes:
        before: Seen left of the slider; enlarged by bicubic to the size of `after`.
        after: Seen right of it.
        labels: What the two are called.
    """

    before: Image.Image
    after: Image.Image
    labels: tuple[str, str] = ("before", "after")

    def _repr_html_(self) -> str:
        before = self.before.convert("RGB").resize(self.after.size, Image.Resampling.BICUBIC)
        return FRAME.format(
            width=self.after.width,
            before=_source(before),
            after=_source(self.after.convert("RGB")),
            before_label=self.labels[0],
            after_label=self.labels[1],
        )


def _source(image: Image.Image) -> str:
    """Return an image as the text that HTML takes for its address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
