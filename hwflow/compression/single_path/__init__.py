"""Single-Path search: decisions that are trained as thresholds on norms of weights, under a differentiable cost."""
