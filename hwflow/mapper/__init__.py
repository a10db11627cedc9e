"""The best mapping of a layer: a search over tilings, loop orders and spatial unrollings, with lower bounds.

`search` finds perfect factors, `padding` imperfect ones ("ragged" in names: the same).
"""
