"""The demo page: a picture goes in, the slider shows it enlarged by bicubic and by the adapter. Needs gradio."""

import os
from functools import lru_cache
from typing import Any

from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pictures import as_picture
from lua_lightning.pipeline import load_pair
from lua_lightning.sizes import target
from lua_lightning.upscaling import LatentWay

SCALES = (1.5, 2, 3, 4)
INTRODUCTION = """# lua-lightning
Left of the slider: bicubic enlargement. Right of it: the adapter. An adapter is made for latents; a photograph loses
detail in the autoencoder before it is enlarged, so bicubic enlargement of a photograph often looks better."""


@lru_cache(maxsize=2)
def _loaded(adapter: str, device: str) -> tuple[LatentUpscaler, LatentCodec]:
    return load_pair(adapter, None, None, device)


def enlarge(image: Image.Image | None, adapter: str, scale: float, device: str) -> tuple[tuple[Any, Any], str]:
    """Return a picture enlarged by bicubic and by an adapter, and a sentence about it.

    Args:
        image: Any size; None where none was given.
        adapter: Name, folder, file or hub id.
        scale: Times the width and height.
        device: Where it computes.

    Raises:
        UserError: There is no picture, or the adapter or the size cannot be used.
    """
    if image is None:
        raise UserError("there is no picture: drop one on the left")
    picture = as_picture(image)
    way = LatentWay(*_loaded(adapter, device), tell_loss=True)
    plan = way.plan(*picture.size, target(scale))
    result, remark = way.enlarge(type(picture)(picture.on_white()), plan)
    bicubic = Image.fromarray(picture.on_white()).resize(plan.size, Image.Resampling.BICUBIC)
    width, height = picture.size
    return (bicubic, result), f"{width}x{height} -> {plan.size[0]}x{plan.size[1]}{remark}"


def page(adapters: list[str], device: str) -> Any:
    """Return the page, a `gradio.Blocks`, whose function is also found under the name `enlarge` by gradio's clients.

    Raises:
        UserError: gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing leaves this machine
    try:
        import gradio
    except ImportError as error:
        raise UserError("the demo needs gradio: pip install 'lua-lightning[demo]'") from error

    def answer(image: Image.Image | None, adapter: str, scale: float) -> tuple[tuple[Any, Any], str]:
        try:
            return enlarge(image, adapter, scale, device)
        except UserError as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="lua-lightning", analytics_enabled=False) as blocks:
        gradio.Markdown(INTRODUCTION)
        with gradio.Row():
            image = gradio.Image(type="pil", label="picture")
            slider = gradio.ImageSlider(label="bicubic | adapter", type="pil")
        with gradio.Row():
            adapter = gradio.Dropdown(adapters, value=adapters[0], label="adapter", allow_custom_value=True)
            scale = gradio.Radio(list(SCALES), value=2, label="scale")
        button = gradio.Button("Enlarge", variant="primary")
        facts = gradio.Textbox(label="result", interactive=False)
        button.click(answer, [image, adapter, scale], [slider, facts], api_name="enlarge")
    return blocks
