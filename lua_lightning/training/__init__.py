"""Losses, curriculum, the Lightning module, and what makes runs and chains of them."""
