"""From photographs to batches: photo sets, crops, the latent pair cache and its data set."""
