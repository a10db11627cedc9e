"""Winograd layers in PyTorch: convolutions whose weights are transformed tiles, and methods that prune these."""
