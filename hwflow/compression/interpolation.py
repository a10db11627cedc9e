# mypy: allow-subclassing-any
"""`Interpolation`: a map of every second pixel brought back to its full size, linearly on each axis."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Interpolation(nn.Module):
    """Virtual pooling's second half (Chen, Zhang, Ding and Marculescu, WACV 2020, arXiv:1906.07912).

    Pixels that were computed stay as they are: y[2 i] = x[i]; those between two are their mean, between four the mean of
    these; what lies beyond the last one is as that. On f with second derivatives, sampled at a distance of h pixels (h = 2),
    the result differs from f by at most h^2 / 8 (max |f_xx| + max |f_yy|), but beyond the last pixel (the bound is ours: linear
    interpolation on one axis after the other).

    Attributes:
        odd: whether the full map has an odd number of rows, and of columns.
    """

    def __init__(self, odd: tuple[bool, bool]) -> None:
        super().__init__()
        self.odd = odd

    def forward(self, values: Tensor) -> Tensor:
        """From [N, C, h, w] to [N, C, 2 h or 2 h - 1, 2 w or 2 w - 1]."""
        height, width = (2 * n - 1 for n in values.shape[2:])
        between = functional.interpolate(values, size=(height, width), mode="bilinear", align_corners=True)
        below, right = (int(not odd) for odd in self.odd)
        return functional.pad(between, (0, right, 0, below), mode="replicate") if below or right else between

    def extra_repr(self) -> str:
        """Its one attribute."""
        return f"odd={self.odd}"


__all__ = ["Interpolation"]
