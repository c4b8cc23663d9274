"""The nodes: load an adapter, enlarge latents, fit the decoded image."""

from pathlib import Path

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as F
from comfy_api.latest import ComfyExtension, io

from .adapters import Adapter, build, describe
from .latents import SMALLEST_TILE, check, convention, enlarge_tiled, tiles
from .sizes import plan

FOLDER, CATEGORY = "latent_upscale_models", "latent/LUA"
Lua = io.Custom("LUA_LATENT_UPSCALER")
TARGETS, FITS = ["scale", "size", "megapixels"], ["inside", "crop"]
BYTES_PER_VALUE = 24  # of a latent's width in the trunk, that one pass holds at a time


class LoadLua(io.ComfyNode):
    """Load an adapter from `models/latent_upscale_models`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LuaLoad",
            display_name="Load LUA",
            category=CATEGORY,
            description="Loads a latent upscaler adapter (LUA) from models/latent_upscale_models.",
            inputs=[io.Combo.Input("model_name", options=folder_paths.get_filename_list(FOLDER))],
            outputs=[Lua.Output(display_name="adapter")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, model_name))
        tensors, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
        config, factors = describe(path, tensors, metadata)
        device = management.get_torch_device()
        dtype = torch.bfloat16 if management.should_use_bf16(device) else torch.float32
        network = build(model_name, config, tensors).to(dtype)
        # The plain patcher moves the whole network, which is small; the dynamic one wants ComfyUI's own layers.
        patcher = comfy.model_patcher.ModelPatcher(
            network, load_device=device, offload_device=management.unet_offload_device()
        )
        space, codec = config.get("space", "normalised"), config.get("codec")
        return io.NodeOutput(Adapter(model_name, patcher, network, space, codec, config.get("downscale", 8), factors))


class UpscaleLua(io.ComfyNode):
    """Enlarge latents by the adapter's next larger scale."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LuaUpscaleLatent",
            display_name="LUA Upscale Latent",
            category=CATEGORY,
            description="Enlarges latents 2 or 4 times in one pass. For other sizes it enlarges by the next larger "
            "scale; decode the result, then connect width and height to LUA Fit Image.",
            inputs=[
                Lua.Input("adapter"),
                io.Latent.Input("samples"),
                io.Combo.Input("target", options=TARGETS, default="scale", tooltip="Which of the sizes below holds."),
                io.Float.Input("scale", default=2.0, min=0.25, max=4.0, step=0.05),
                io.Int.Input("width", default=2048, min=16, max=16384),
                io.Int.Input("height", default=2048, min=16, max=16384),
                io.Float.Input("megapixels", default=4.0, min=0.1, max=256.0, step=0.1),
                io.Combo.Input("fit", options=FITS, default="inside", tooltip="How a size is met; crop cuts the rest."),
                io.Int.Input(
                    "tile",
                    default=0,
                    min=0,
                    max=1024,
                    step=16,
                    tooltip="Side of a tile in latents, 64 or more; 0: the whole.",
                ),
                io.Model.Input("model", optional=True, tooltip="The model that made the latents, to check its kind."),
            ],
            outputs=[
                io.Latent.Output(display_name="samples"),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
            ],
        )

    @classmethod
    def execute(
        cls, adapter, samples, target, scale, width, height, megapixels, fit, tile, model=None
    ) -> io.NodeOutput:
        given = samples["samples"]
        latent_format = model.get_model_object("latent_format") if model is not None else None
        form = convention(adapter.space, adapter.codec, adapter.factors, latent_format)
        check(given, adapter.network.channels, adapter.codec, form.packed, latent_format)
        latents = form.enter(given)
        pixels = [side * adapter.downscale for side in latents.shape[:1:-1]]
        factor, result = plan(*pixels, adapter.network.scales, target, scale, (width, height), megapixels, fit)
        enlarged = form.leave(enlarge(adapter, latents, factor, tile), given)
        kept = {name: value for name, value in samples.items() if name not in ("noise_mask", "samples")}
        return io.NodeOutput({**kept, "samples": enlarged.to(management.intermediate_device())}, *result)


class FitLua(io.ComfyNode):
    """Reduce a decoded image to the size that was asked for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LuaFitImage",
            display_name="LUA Fit Image",
            category=CATEGORY,
            description="Reduces an image by an antialiased filter until it just covers the size, and cuts the rest.",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("width", default=2048, min=1, max=16384),
                io.Int.Input("height", default=2048, min=1, max=16384),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, width: int, height: int) -> io.NodeOutput:
        rows, columns = image.shape[1:3]
        factor = max(width / columns, height / rows)
        size = max(height, round(rows * factor)), max(width, round(columns * factor))
        fitted = image.movedim(-1, 1)
        if size != (rows, columns):
            fitted = F.interpolate(fitted.float(), size=size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return io.NodeOutput(fitted[..., top : top + height, left : left + width].movedim(1, -1).contiguous())


@torch.inference_mode()
def enlarge(adapter: Adapter, latents: torch.Tensor, scale: int, tile: int) -> torch.Tensor:
    """Return latents (N, C, H, W) enlarged one after the other; where memory is short, in smaller tiles."""
    network, window = adapter.network, adapter.network.window_size
    height, width = latents.shape[-2:]
    largest = -(-max(height, width) // window) * window
    smallest = SMALLEST_TILE * window
    side = min(largest, max(smallest, tile // window * window)) if tile else largest
    while True:
        area = min(side, height) * min(side, width)
        needed = area * scale**2 * network.conv_first.out_channels * BYTES_PER_VALUE
        management.load_models_gpu([adapter.patcher], memory_required=needed)
        progress = comfy.utils.ProgressBar(len(latents) * tiles(height, width, side, window))
        try:
            return torch.cat([_one(adapter, one, scale, side, progress) for one in latents.split(1)])
        except management.OOM_EXCEPTION:
            if side <= smallest:
                raise
            side = max(smallest, side // 2 // window * window)
            management.soft_empty_cache()


def _one(adapter: Adapter, latents: torch.Tensor, scale: int, side: int, progress) -> torch.Tensor:
    network = adapter.network
    enlarged = enlarge_tiled(
        lambda part: network(part, scale),
        latents.to(adapter.patcher.load_device),
        scale,
        side,
        network.window_size,
        lambda: progress.update(1),
    )
    return enlarged.to(management.intermediate_device())


class LuaExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadLua, UpscaleLua, FitLua]


async def comfy_entrypoint() -> LuaExtension:
    """Return the extension; ComfyUI calls this."""
    return LuaExtension()
