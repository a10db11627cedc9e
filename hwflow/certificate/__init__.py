"""Certificates: files with which others can check that no mapping is better than a bound, without repeating the search.

`document` is the file, `issue` writes one for a mapping, and `check` verifies one. Nothing here uses the search or its bounds
(`hwflow.mapper`): the formulas are those of the documentation's page "Certificates", and the cost of the mapping is that of the
analysis (`hwflow.loopnest`).
"""
