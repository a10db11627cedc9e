"""Reports of pruning runs."""
