"""Train, measure and use latent upscaler adapters for diffusion models (LUA, arXiv 2511.10629)."""

__version__ = "0.1.0"
