"""Which mapping of a layer is best: the search over tilings, loop orders and spatial unrollings, and its lower bounds.

`search` finds perfect factors, `padding` imperfect ones ("ragged" in names: the same).
"""
