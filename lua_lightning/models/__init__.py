"""The networks: adapter, trunk, skip, autoencoders, and how their weights are found and loaded."""
