"""The slider holds both pictures, in one size, and no address of elsewhere."""

import base64
import io
import re

from PIL import Image

from lua_lightning.before_after import BeforeAfter


def test_both_pictures_are_in_it_in_the_larger_size():
    before, after = Image.new("RGB", (8, 6), (10, 20, 30)), Image.new("RGBA", (16, 12), (90, 80, 70, 255))
    html = BeforeAfter(before, after, labels=("small", "large"))._repr_html_()
    found = [Image.open(io.BytesIO(base64.b64decode(text))) for text in re.findall(r"base64,([^\"]+)", html)]
    assert [image.size for image in found] == [(16, 12), (16, 12)]
    assert {image.getpixel((3, 3)) for image in found} == {(10, 20, 30), (90, 80, 70)}
    assert "small" in html
    assert "large" in html
    assert "http" not in html
