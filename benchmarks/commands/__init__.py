"""Commands of `lua-lightning` that read finished benchmarks, one file each; pyproject.toml adds them."""
