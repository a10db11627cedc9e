"""The report of `hwflow ppa fronts`."""
