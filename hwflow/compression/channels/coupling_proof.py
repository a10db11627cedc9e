"""Verification of a group on the model itself: permuting its channels everywhere must not change the output.

If a group lists every place where its channels occur, permuting its units in all of them leaves the function of the model as it
was; if it misses one, or an operator in between mixes or moves channels (a reshape, an attention, an output), the result
changes. The check runs on random weights, so that no zero hides a dependence, and in double precision.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils import _pytree as pytree

from hwflow.compression.channels.groups import Group, Slot
from hwflow.network.from_torch import Example, filled
from hwflow.network.replica import replica

_SIDES = (32, 64, None)  # pixels, the least that the model runs on; None are those of its own examples
_MISTAKE = 1e-10  # relative. In the zoo rounding stays below 1e-14, and a tensor left out of a group shows above 1e-6
_MISTAKE_SINGLE = 1e-5  # for models that do not run in double precision; rounding stays below 1e-6


class Unprovable(Exception):
    """The model does not run on random weights; the message says why."""


def unproven(model: nn.Module, groups: Sequence[Group], examples: Sequence[Example]) -> list[str]:
    """The names of the groups whose permutation changes the output of the model in evaluation mode.

    Raises:
        Unprovable: where the model does not run on random weights, so that nothing can be said of any group.
    """
    probe = _Probe(model, examples)
    if not groups or probe.survives(groups):
        return []
    bad = [group for group in groups if not probe.survives([group])]
    rest = [group for group in groups if group not in bad]
    if not probe.survives(rest):  # one alone it survives, but not some together
        rest, alone = [], rest
        for group in alone:
            (rest if probe.survives([*rest, group]) else bad).append(group)
    return [group.name for group in bad]


class _Probe:
    """A copy of the model with random weights, its inputs, and what it computes."""

    def __init__(self, model: nn.Module, examples: Sequence[Example]) -> None:
        attempts = list(itertools.product((True, False), _SIDES))
        for double, side in attempts:
            self._generator = torch.Generator().manual_seed(0)
            self._mistake = _MISTAKE if double else _MISTAKE_SINGLE
            try:
                self._model = replica(model).eval()
                if double:
                    self._model.double()
                self._tensors = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
                self._inputs = [self._noise(filled(_shrunk(x, side), self._model)) for x in examples]
                self._randomise()
                self._expected = self._run()
                return
            except Exception as error:
                if (double, side) == attempts[-1]:
                    raise Unprovable(f"{type(error).__name__}: {error}") from error

    def survives(self, groups: Sequence[Group]) -> bool:
        """Whether the model computes the same with the units of these groups in another order."""
        moves = []
        for group in groups:
            order = torch.randperm(group.units, generator=self._generator)
            if group.units > 1 and bool((order == torch.arange(group.units)).all()):
                order = order.flip(0)
            moves += [(slot, order, torch.tensor(slot.positions).view(group.units, -1)) for slot in group.slots]
        for slot, order, positions in moves:
            self._move(slot, positions[order], positions)
        try:
            found = self._run()
        except Exception:  # a model may refuse what it would not compute with its channels in order
            return False
        finally:
            for slot, order, positions in moves:
                self._move(slot, positions, positions[order])
        return len(found) == len(self._expected) and all(map(self._same, self._expected, found))

    def _move(self, slot: Slot, source: torch.Tensor, to: torch.Tensor) -> None:
        tensor = self._tensors[slot.tensor]
        with torch.no_grad():
            moved = tensor.index_select(slot.axis, source.reshape(-1).to(tensor.device))
            tensor.index_copy_(slot.axis, to.reshape(-1).to(tensor.device), moved)

    def _same(self, expected: torch.Tensor, found: torch.Tensor) -> bool:
        if expected.shape != found.shape or not bool((expected.isfinite() == found.isfinite()).all()):
            return False
        finite = expected.isfinite()
        wanted, got = expected[finite].double(), found[finite].double()
        return not wanted.numel() or bool((wanted - got).abs().max() <= self._mistake * wanted.abs().max())

    def _run(self) -> list[torch.Tensor]:
        with _one_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            out = self._model(*(x.clone() for x in self._inputs))
        return [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]

    def _randomise(self) -> None:
        """Weights scaled by their fan-in; scales and variances around one, so that all stays positive that was."""
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                if tensor.is_floating_point():
                    noise = torch.rand(tensor.shape, generator=self._generator, dtype=torch.float32) - 0.5
                    if tensor.dim() > 1:
                        noise *= (12 / max(tensor[0].numel(), 1)) ** 0.5
                    elif not name.endswith(("bias", "running_mean")):
                        noise += 1
                    tensor.copy_(noise)

    def _noise(self, value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        like = next((p for p in self._model.parameters() if p.is_floating_point()), value)
        return torch.randn(value.shape, generator=self._generator).to(like)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """In double precision a depthwise convolution is thousands of small products, over which threads would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _shrunk(example: Example, side: int | None) -> Example:
    """A smaller image, where the example is one."""
    if side is None or isinstance(example, torch.Tensor) or len(example) != 4:
        return example
    return (*example[:2], *(min(side, length) for length in example[2:]))


__all__ = ["Unprovable", "unproven"]
