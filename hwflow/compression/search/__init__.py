"""Searchers for plans within a budget, and the baselines that they are compared with."""
