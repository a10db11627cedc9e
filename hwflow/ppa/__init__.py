"""Fitted models of power, performance and area: what a layer costs on a variant of one chip, predicted by polynomials.

`variables` says what of a chip and of a layer the models see, `polynomials` what they compute, `selection` how they are fitted,
`model` how the fits of all PE types make one model, `model_file` how that is kept. The method follows QAPPA and QUIDAM (Inci et
al., arXiv:2205.13045 and 2206.15463), which fit polynomials to synthesised designs; here the targets are the answers of one of
hwflow's levels, so a model is no better than that level.
"""
