"""Channel pruning: groups of coupled channels, plans, and surgery."""
