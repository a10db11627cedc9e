"""Attention heads as groups: the queries, keys and values that make a head, and what the output projection reads of it.

torch-pruning follows no reshape into heads. So modules that look like multi-head attention are taken apart by their shapes
here, and whether a group is right is proven like that of any other (`coupling_proof`, `row_sizes`).
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from hwflow.compression.channels.groups import Count, Group, Slot
from hwflow.compression.channels.narrow_attention import NarrowAttention

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "heads")
_WIDTHS = ("attn_dim", "all_head_size", "inner_dim")
"""What timm, transformers and others call the number of heads, and the width of all heads together."""


def head_groups(model: nn.Module, order: Iterable[str]) -> list[Group]:
    """A group for each multi-head attention whose units are whole heads, with the least and the full width.

    Two heads stay at least: with one, operators that only move data (a transposition) disappear, so that the rows differ.

    Such a module states its number of heads, and its own linear layers are projections to queries, keys and values, one after
    another in one layer or in several, in heads of equal size, and then the output projection, which runs last.

    Args:
        order: the modules, and products without one, in order of execution.
    """
    projections: dict[str, list[str]] = {}
    modules = dict(model.named_modules())
    for name in order:
        projections.setdefault(name.rpartition(".")[0], []).append(name)
    found = []
    for name, module in modules.items():
        if type(module) in (nn.MultiheadAttention, NarrowAttention):
            found += _of_pytorch(name, module) if name in projections.get(name.rpartition(".")[0], []) else []
            continue
        attribute = next((a for a in _HEADS if _is_count(getattr(module, a, None))), None)
        linear = [n for n in projections.get(name, []) if type(modules.get(n)) is nn.Linear]
        if attribute is not None and len(linear) > 1:
            group = _group(model, name, attribute, linear)
            found += [] if group is None else [group]
    return found


def _of_pytorch(name: str, attention: nn.Module) -> list[Group]:
    """The heads of an `nn.MultiheadAttention` with one projection and without tokens of its own."""
    heads, each = attention.num_heads, attention.head_dim
    if heads < 2 or attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
        return []
    width = heads * each
    positions = tuple(part * width + h * each + i for h in range(heads) for part in range(3) for i in range(each))
    slots = [
        Slot(f"{name}.in_proj_weight", 0, 3 * width, positions, True),
        Slot(f"{name}.out_proj.weight", 1, width, tuple(range(width)), True),
    ]
    if attention.in_proj_bias is not None:
        slots.append(Slot(f"{name}.in_proj_bias", 0, 3 * width, positions, False))
    counts = (Count(name, "num_heads", 1), Count(f"{name}.out_proj", "in_features", each))
    widths = (2 * each, width)
    return [Group(name, width, widths, each, (name,), (f"{name}.out_proj",), False, tuple(slots), counts)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _group(model: nn.Module, name: str, attribute: str, linear: list[str]) -> Group | None:
    attention = model.get_submodule(name)
    *makers, reader = linear
    heads, width = getattr(attention, attribute), model.get_submodule(reader).in_features
    parts = [model.get_submodule(maker).out_features / width for maker in makers]
    if width % heads or not all(part.is_integer() for part in parts) or sum(parts) < 3:
        return None
    each = width // heads
    slots, counts = [], []
    for maker, part in zip(makers, parts, strict=True):
        positions = tuple(p * width + h * each + i for h in range(heads) for p in range(int(part)) for i in range(each))
        slots.append(Slot(f"{maker}.weight", 0, int(part) * width, positions, True))
        if model.get_submodule(maker).bias is not None:
            slots.append(Slot(f"{maker}.bias", 0, int(part) * width, positions, False))
        counts.append(Count(maker, "out_features", int(part) * each))
    slots.append(Slot(f"{reader}.weight", 1, width, tuple(range(width)), True))
    counts += [Count(reader, "in_features", each), Count(name, attribute, 1)]
    counts += [Count(name, a, each) for a in _WIDTHS if getattr(attention, a, None) == width]
    for own, tensor in (*attention.named_parameters(recurse=False), *attention.named_buffers(recurse=False)):
        axes = [axis for axis, size in enumerate(tensor.shape) if size == heads]
        if len(axes) == 1:  # a number for each head: tables of relative positions, temperatures
            slots.append(Slot(f"{name}.{own}" if name else own, axes[0], heads, tuple(range(heads)), False))
    return Group(
        name=makers[0],
        channels=width,
        widths=(2 * each, width),
        unit=each,
        producers=tuple(makers),
        consumers=(reader,),
        stream=False,
        slots=tuple(slots),
        counts=tuple(counts),
    )


__all__ = ["head_groups"]
