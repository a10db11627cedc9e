"""Compression of CNNs to a budget of energy, latency or another metric; `method` defines what a compression method is."""
