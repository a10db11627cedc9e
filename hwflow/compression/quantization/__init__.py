"""Quantization of weights and activations: integers, sums of powers of two, signs."""
