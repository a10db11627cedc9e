"""Training of policies that are kept: over several networks, accelerators and budgets."""
