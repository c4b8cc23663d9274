"""The diffusion pipelines that make base latents, and what is known of them."""
