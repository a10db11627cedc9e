"""Channels that must be pruned together, and smaller copies of a model."""
