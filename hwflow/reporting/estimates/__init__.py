"""Reports of estimates and comparisons."""
