"""Kernels for processors that leave out zero weights, and the choice of how each layer runs."""
