"""`Network`: a model as the tuple of layers that is costed."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hwflow import display
from hwflow.errors import InputError
from hwflow.layers import Bits, Layer
from hwflow.network.graph import Graph

if TYPE_CHECKING:
    import torch


class OtherOp(NamedTuple):
    """An operator that no cost model counts as multiply-accumulates: pooling, additions, activations, resampling.

    `type` is the name that ONNX gives the operator. Words are elements moved if it runs on its own, reading its inputs and
    writing its outputs once. `params` counts its learnt parameters (scale and shift of a normalisation). `window` is of how
    many elements a pooling makes one, padding included; 0 where that is not known.
    """

    name: str
    type: str
    words_in: int
    words_out: int
    params: int = 0
    window: int = 0


_KINDS = {"Gather": "embeddings"}


def _importer(name: str) -> Any:
    """A module that makes networks. It is named, not imported: importers build on this module, and load what they need late."""
    return importlib.import_module(f"hwflow.network.{name}")


@dataclass(frozen=True, repr=False)
class Network:
    """A model as a tuple of layers, in order of execution; a layer that runs twice stands there twice.

    Rows are occurrences, parameters are not: a tensor that several rows read is counted once.

    Attributes:
        other: what is not counted as layers.
        params_unread: parameters that neither a row nor an operator of `other` reads, as far as the importer knows: unused, or
            no more than part of a computation of constants.
        notes: what is not as the file that it comes from has it, and where a traced model's layers depend on input values.
        graph: which row or operator reads what which other one writes; None where that is not known.
    """

    name: str
    layers: tuple[Layer, ...]
    other: tuple[OtherOp, ...] = ()
    params_unread: int = field(default=0, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    graph: Graph | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError(f"network {self.name!r} has no layer that can be costed (convolution, linear or matrix product).")
        seen: Counter[str] = Counter()
        unique = []
        for layer in self.layers:
            seen[layer.name] += 1
            unique.append(layer if seen[layer.name] == 1 else layer.with_(name=f"{layer.name}#{seen[layer.name]}"))
        object.__setattr__(self, "layers", tuple(unique))

    def __repr__(self) -> str:
        return f"<Network {self.name}: {len(self.layers)} layers, {self.macs * 1e-6:,.2f} M MACs, {self.params:,} weights>"

    def _repr_html_(self) -> str:
        headings = ["layer", "MACs (M)", "weights", "type and sizes"]
        rows = [
            [la.name, f"{la.macs * 1e-6:,.2f}", f"{la.params:,}", str(la).removeprefix(f"{la.name} ").strip("()")]
            for la in self.layers
        ]
        totals = ["total", f"{self.macs * 1e-6:,.2f}", f"{self.params:,}", ""]
        other = ", ".join(f"{kind} x{count}" for kind, count in self.not_counted.items())
        lines = [f"Not counted: {other}"] if other else []
        return display.table_html(f"Network {self.name}", headings, rows, totals, lines)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        from hwflow.errors import not_found

        raise not_found(f"layer of {self.name}", name, (layer.name for layer in self.layers))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def params(self) -> int:
        """Weights of all rows, those that several rows read counted once."""
        return sum(layer.own_params for layer in self.layers)

    @property
    def params_other(self) -> int:
        """All parameters that are no weights of rows: bias, normalization, embeddings and the like."""
        return sum(count for kind, count in self.params_by_kind.items() if kind != "weights")

    @property
    def params_total(self) -> int:
        """All parameters, each once; of a PyTorch model `sum(p.numel() for p in model.parameters())`."""
        return self.params + self.params_other

    @property
    def params_by_kind(self) -> Mapping[str, int]:
        """Parameters by what they are for: weights of rows, bias, normalization, embeddings, other; kinds that occur."""
        kinds = Counter({"weights": self.params, "bias": sum(layer.params_other for layer in self.layers)})
        for op in self.other:
            kinds["normalization" if op.type.endswith("Normalization") else _KINDS.get(op.type, "other")] += op.params
        kinds["other"] += self.params_unread
        order = ("weights", "bias", "normalization", "embeddings", "other")
        return {kind: kinds[kind] for kind in order if kinds[kind] or kind == "weights"}

    @property
    def not_counted(self) -> Mapping[str, int]:
        """Operators that are not counted as layers: how many of each type, sorted by type."""
        return dict(sorted(Counter(op.type for op in self.other).items()))

    def peak_activation_bytes(self, weights: int = 16, activations: int = 16) -> int | None:
        """The most memory that activations take at once, batch included; None where the data flow is not known.

        Counted is, while each row or operator runs, what it reads and writes and what a later one still reads; see
        `hwflow.network.graph`.

        Args:
            weights, activations: word widths in bits of layers that state none.
        """
        if self.graph is None:
            return None
        return self.graph.peak_bytes([layer.bits or Bits(weights, activations, activations) for layer in self.layers])

    def with_bits(self, weights: int, activations: int) -> Network:
        """Every layer at these widths; layers that state their own keep them."""
        bits = Bits(weights, activations, activations)
        return replace(self, layers=tuple(la if la.bits else la.with_(bits=bits) for la in self.layers))

    @property
    def own_densities(self) -> int:
        """How many layers state shares of elements that are not zero."""
        return sum(bool(layer.densities or layer.position_densities) for layer in self.layers)

    def with_densities(self, given: Mapping[str, Mapping[str, Any]]) -> Network:
        """Layers with the shares of their elements that are not zero; those that state their own keep them.

        Args:
            given: by name of the layer, shares by tensor (weights, inputs, outputs; one that is left out has no zeros), and as
                `positions` that of its transformed weights where it runs as a Winograd product, or a list of one for each
                position of the tiles; `*` is for all layers that are not named.

        Raises:
            InputError: for a layer or a tensor that there is not, and for a share that is none.
        """
        from hwflow.network.densities import densities_of

        found = densities_of(given, self.name, [layer.name for layer in self.layers])
        layers = (la if la.densities or la.position_densities else la.with_(**found.get(la.name, {})) for la in self.layers)
        return replace(self, layers=tuple(layers))

    @classmethod
    def from_torch(cls, model: torch.nn.Module, input_shape: Any, *, name: str | None = None) -> Network:
        """Trace any `nn.Module` on its inputs: one shape, batch included, or several; see `hwflow.network.from_torch`.

        The rows of a network that `hwflow.load_compressed` read have the word widths, and run as, the run's folder says.
        """
        network: Network = _importer("from_torch").imported(model, input_shape, name=name)
        return network

    @classmethod
    def from_onnx(cls, path: str | Path, *, input_shape: Any = None, batch: int | None = None) -> Network:
        """Read an ONNX file; see `hwflow.network.from_onnx`."""
        network: Network = _importer("from_onnx").read(path, input_shape=input_shape, batch=batch)
        return network

    @classmethod
    def from_yaml(cls, path: str | Path) -> Network:
        """Read a YAML layer list; see `hwflow.network.from_yaml`."""
        network: Network = _importer("from_yaml").read(path)
        return network

    @classmethod
    def from_timeloop(cls, path: str | Path) -> Network:
        """Read a problem file of Timeloop's, or a folder of them; see `hwflow.network.from_timeloop_problem`."""
        network: Network = _importer("from_timeloop_problem").read(path)
        return network


__all__ = ["Network", "OtherOp"]
