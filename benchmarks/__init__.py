"""The benchmark: what every method makes of the same starts, and at what cost."""
