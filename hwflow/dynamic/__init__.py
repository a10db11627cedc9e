"""Networks whose size, unit and clock are chosen while they run.

`Manager` chooses among the rows of a table (`read_table`); both import nothing but the standard library.
"""
