"""ComfyUI nodes of LUA, the latent upscaler adapter (arXiv 2511.10629)."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
