"""What a given mapping of a layer costs on an accelerator: loop-nest analysis with Timeloop's counts.

`nest` is the entrance; `batch` holds many mappings as arrays.
"""
