# mypy: allow-subclassing-any
"""`NarrowAttention`: PyTorch's multi-head attention with fewer heads than its embedding has room for.

`nn.MultiheadAttention` takes the width of all heads together for that of the embedding, so that no head can go. After surgery
the module becomes one of this class, which has the same tensors under the same names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def narrowed(module: nn.Module) -> None:
    """Let a multi-head attention whose heads were cut run with those that are left."""
    if type(module) is nn.MultiheadAttention:
        module.__class__ = NarrowAttention


class NarrowAttention(nn.MultiheadAttention):
    """The operators of `nn.functional.multi_head_attention_forward` in their order, for heads of any width together.

    Made by `narrowed` only. `num_heads` are those that are left; `head_dim` and `embed_dim` are as they were.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention.forward`; a mask for each head is one for each head that is left."""
        batched = query.dim() == 3
        same = query is key and key is value
        queries = self._tokens_first(query, batched)
        keys, values = (queries, queries) if same else (self._tokens_first(x, batched) for x in (key, value))
        tokens, batch, _ = queries.shape
        width, each, outer = self.num_heads * self.head_dim, self.head_dim, batch * self.num_heads
        q, k, v = (part.view(-1, outer, each).transpose(0, 1) for part in self._projected(queries, keys, values, same))
        mask = self._mask(attn_mask, key_padding_mask, batch, k.shape[1], q.dtype)
        dropped, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            scores = q * each**-0.5 @ k.transpose(-2, -1)
            scores = scores if mask is None else scores + mask.expand(batch, self.num_heads, -1, -1).flatten(0, 1)
            weights = F.dropout(scores.softmax(-1), dropped)
            made = torch.bmm(weights, v).transpose(0, 1).reshape(tokens * batch, width)
        else:
            shaped = (part.view(batch, self.num_heads, -1, each) for part in (q, k, v))
            made = F.scaled_dot_product_attention(*shaped, mask, dropped)  # type: ignore[call-arg]
            made = made.permute(2, 0, 1, 3).reshape(batch * tokens, width)
        result = F.linear(made, self.out_proj.weight, self.out_proj.bias).view(tokens, batch, -1)
        if weights is not None:
            weights = weights.view(batch, self.num_heads, tokens, -1)
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        if not batched:
            return result.squeeze(1), weights
        return result.transpose(0, 1) if self.batch_first else result, weights

    def _tokens_first(self, x: Tensor, batched: bool) -> Tensor:
        if not batched:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if self.batch_first else x

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> Any:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if same:
            parts = F.linear(query, weight, bias).unflatten(-1, (3, -1))
            return parts.unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
        biases = (None, None, None) if bias is None else bias.chunk(3)
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True)]

    def _mask(self, mask: Tensor | None, padding: Tensor | None, batch: int, keys: int, dtype: torch.dtype) -> Tensor | None:
        """Both masks together, to be added to the scores: (batch or 1, heads or 1, queries or 1, keys)."""
        if mask is not None:
            mask = _added(mask, dtype)
            mask = mask[None, None] if mask.dim() == 2 else mask.view(batch, self.num_heads, -1, keys)
        if padding is not None:
            padding = _added(padding, dtype).view(batch, 1, 1, keys)
        return padding if mask is None else mask if padding is None else mask + padding


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers that are added; a boolean one is true where nothing is to be seen."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)


__all__ = ["NarrowAttention", "narrowed"]
