"""Compression of CNNs to a budget of energy, latency or another metric: what all methods share, `channels` and `search`."""
