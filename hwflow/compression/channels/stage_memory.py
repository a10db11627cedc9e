"""`StageMemory`: outputs of a network's stages, remembered from plan to plan where nothing before them has changed.

What a block computes depends on its inputs and on the widths of the groups that reach into it. Two plans that differ in later
groups only share all that comes before, which need not be computed twice. This is ours.

It is exact: what a tensor is follows from the modules that made it, and one that was changed in place since, as its version
counter tells, is nobody's output any more. What modules tell each other behind their arguments cannot be seen; so a memory is
used only after it was right for each group cut alone (`proven`).
"""

from __future__ import annotations

import contextlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hwflow.compression.channels.grouped_tensors import tensors_of
from hwflow.compression.channels.groups import Grouping, Widths
from hwflow.compression.channels.pruned_copy import PrunedCopy
from hwflow.training.score import first_output, normalised_by_batch, placed

MOST_BYTES = 2**28

_Key = tuple[Any, ...]
_Known = dict[int, tuple["weakref.ref[Tensor]", int, _Key]]
"""Tensors of one pass by their id: what they are, at which version of their contents."""


class _Output(NamedTuple):
    """What is remembered: the tensor as it was at a version of its contents, and whether several plans had it."""

    tensor: Tensor
    version: int
    depth: int
    shared: bool


class StageMemory:
    """For one model that is cut to one plan after another, and is run on the same images each time.

    Args:
        model: from `PrunedCopy`; its modules stay the same, its weights follow from the widths.
        most_bytes: of outputs that are remembered; those that no two plans shared go first, late stages before early ones.

    Attributes:
        hits: outputs that were not computed.
    """

    def __init__(self, model: nn.Module, grouping: Grouping, *, most_bytes: int | None = None) -> None:
        self._most = MOST_BYTES if most_bytes is None else most_bytes
        self._modules = dict(model.named_modules())
        names = {id(tensor): name for name, tensor in tensors_of(model).items()}
        touching: dict[str, set[int]] = {}
        for number, group in enumerate(grouping.groups):
            for slot in group.slots:
                touching.setdefault(slot.tensor, set()).add(number)
        self._reach: dict[str, list[int]] = {}
        for name, module in self._modules.items():
            held = {names[id(tensor)] for tensor in (*module.parameters(), *module.buffers())}
            self._reach[name] = sorted(set().union(*(touching.get(tensor, set()) for tensor in held)))
        self._kept: OrderedDict[_Key, _Output] = OrderedDict()
        self._bytes = 0
        self._unfit: set[str] = set()
        self.hits = 0

    def forget(self) -> None:
        """Begin anew."""
        self._kept.clear()
        self._bytes = self.hits = 0

    @contextlib.contextmanager
    def remembering(self, widths: Widths, images: str) -> Iterator[None]:
        """Inside, calls of the model use and fill the memory; `images` names the batches, which come in one order."""
        known: _Known = {}
        calls = 0

        def whole(x: Tensor) -> Any:
            nonlocal calls
            known.clear()
            with torch.inference_mode(False), torch.no_grad():  # inference tensors have no versions
                first = x.clone() if x.is_inference() else x
                known[id(first)] = (weakref.ref(first), first._version, (images, calls))
                calls += 1
                return forwards[""](first)

        forwards = {name: module.forward for name, module in self._modules.items()}
        own = {name: vars(module)["forward"] for name, module in self._modules.items() if "forward" in vars(module)}
        try:
            for name, module in self._modules.items():
                vars(module)["forward"] = self._stage(name, forwards[name], widths, known) if name else whole
            yield
        finally:
            for name, module in self._modules.items():
                del vars(module)["forward"]
                if name in own:
                    vars(module)["forward"] = own[name]

    def _stage(self, name: str, forward: Callable[..., Any], widths: Widths, known: _Known) -> Callable[..., Any]:
        """A module's forward that looks into the memory first."""
        mine = (name, *(widths[group] for group in self._reach[name]))
        stage = any(True for _ in self._modules[name].children())

        def run(*inputs: Any, **named: Any) -> Any:
            before = None if named or len(inputs) != 1 or name in self._unfit else _what(inputs[0], known)
            if before is None:
                return forward(*inputs, **named)
            key, x = (mine, before), inputs[0]
            found = self._kept.get(key)
            if found is not None and found.tensor._version == found.version:
                self._kept.move_to_end(key)
                self._kept[key] = found._replace(shared=True)
                self.hits += 1
                out: Any = found.tensor
            else:
                version = x._version
                out = forward(x)
                if not isinstance(out, Tensor) or (stage and x._version != version):
                    self._unfit.add(name)  # others may read the input that it changes
                    return out
                if stage and _what(out, known) not in self._kept:  # else its last child has it
                    self._keep(key, out)
            known[id(out)] = (weakref.ref(out), out._version, key)
            return out

        return run

    def _keep(self, key: _Key, out: Tensor) -> None:
        gone = self._kept.pop(key, None)
        self._bytes += out.nbytes - (gone.tensor.nbytes if gone else 0)
        self._kept[key] = _Output(out, out._version, _depth(key), shared=False)
        while self._bytes > self._most:
            first = max(self._kept, key=lambda k: (not self._kept[k].shared) * self._kept[k].depth)  # else the oldest
            self._bytes -= self._kept.pop(first).tensor.nbytes


def _depth(key: _Key) -> int:
    """Modules that made an output."""
    depth = 0
    while len(key) == 2 and isinstance(key[1], tuple):
        key, depth = key[1], depth + 1
    return depth


def _what(x: Any, known: _Known) -> _Key | None:
    """What a tensor is, where that is known and it has not been changed since."""
    found = known.get(id(x))
    if found is None or found[0]() is not x or found[1] != x._version:
        return None
    return found[2]


def proven(copy: PrunedCopy, grouping: Grouping, images: Tensor, device: str = "cpu") -> StageMemory | None:
    """A memory for a copy, where it answers as the network does, to the bit, with every group cut alone; else None.

    None, too, where it would never answer, and for modules with hooks, which would not be called.

    Args:
        images: a few, on the device; batch normalisation takes their statistics.
    """
    whole = {group.name: group.channels for group in grouping.groups}
    model = copy.cut(whole)
    if any(isinstance(m, torch.jit.ScriptModule) or m._forward_hooks or m._forward_pre_hooks for m in model.modules()):
        return None
    memory = StageMemory(model, grouping)
    for plan in (whole, *({**whole, group.name: group.widths[0]} for group in grouping.groups)):
        model = copy.cut(plan).eval()
        with placed(model, device), normalised_by_batch(model), torch.inference_mode():
            with memory.remembering(grouping.widths_of(plan), "proof"):
                told = first_output(model(images))
            computed = first_output(model(images))
        if not torch.equal(told, computed):
            return None
    useful = memory.hits > 0
    memory.forget()
    return memory if useful else None


__all__ = ["StageMemory", "proven"]
