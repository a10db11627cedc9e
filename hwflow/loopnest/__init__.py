"""The cost of a given mapping of a layer on an accelerator: loop-nest analysis with Timeloop's counts.

`nest` is the entrance; `batch` holds many mappings as arrays.
"""
