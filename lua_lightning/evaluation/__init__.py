"""Measures: fidelity, perceptual distances, distributions, intervals, and their tables."""
