"""`Case`: a network with the batch size and word widths at which every design runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hwflow.cost.executed_network import AUTO, run_as, wanted
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network, model_zoo
from hwflow.network.callables import NamedIn
from hwflow.network.densities import given_densities
from hwflow.network.load import load
from hwflow.store import key_of
from hwflow.sweeping.description import Description, NetworkSpec
from hwflow.sweeping.point_record import Rows, title
from hwflow.sweeping.space import located

OPERATORS = "operators"
"""The name, and the type, of the row for what is no layer."""

_OPERATORS = Layer(f"{{{OPERATORS}}}", C=1, M=1)


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        bits: of weights and activations, as asked; None is the accelerator's own.
        whole: whether its layers are costed together, each with a row of its own and one for all other operators.
    """

    network: Network
    bits: tuple[int, int] | None
    whole: bool = False

    @property
    def batch(self) -> int:
        """Of the first layer, as a representative of all."""
        return self.network.layers[0].N

    @cached_property
    def distinct(self) -> tuple[Layer, ...]:
        """One layer of each shape, in order, under names that stand for any of them: "{layer 0}", "{layer 1}", ...

        Of a network that is costed as a whole all layers, and the last stands for its other operators.
        """
        if self.whole:
            each = (layer.with_(name=f"{{layer {i}}}") for i, layer in enumerate(self.network))
            return (*each, _OPERATORS)
        different = {identity(layer): layer for layer in self.network}
        return tuple(layer.with_(name=f"{{layer {i}}}") for i, layer in enumerate(different.values()))

    @cached_property
    def title(self) -> str:
        """What is asked for, in words."""
        return title(self.network.name, self.batch, self.bits_text)

    def identity(self, layer: Layer) -> tuple[object, ...]:
        """What those of `distinct` are told apart by."""
        return (layer.name,) if self.whole else identity(layer)

    @property
    def bits_text(self) -> str | None:
        """The word widths as records and tables have them."""
        return ",".join(map(str, self.bits)) if self.bits else None

    @cached_property
    def rows(self) -> Rows:
        """The layers, and which of `distinct` each is."""
        layers = [(layer.name, str(layer.type), layer.macs, layer.params) for layer in self.network]
        if self.whole:
            return Rows([*layers, (OPERATORS, OPERATORS, 0, 0)], range(len(layers) + 1))
        places = {identity(layer): i for i, layer in enumerate(self.distinct)}
        return Rows(layers, [places[identity(layer)] for layer in self.network])

    @cached_property
    def widths(self) -> tuple[Layer, ...]:
        """One layer of each word width."""
        layers = self.network.layers if self.whole else self.distinct
        return tuple({layer.bits: layer for layer in layers}.values())

    @cached_property
    def content(self) -> str:
        """Hash of what is costed."""
        layers = [(layer.name, layer.type, layer.key) for layer in self.network]
        return key_of(layers, *([[self.network.other, str(self.network.graph)]] if self.whole else []))


def identity(layer: Layer) -> tuple[object, ...]:
    """What two layers share that get one answer: the shape, and how errors call its type."""
    return (layer.type, *layer.key)


def with_density(network: Network, text: str) -> str:
    """The name of a network whose elements are zero as the text of a sweep file says, but for layers that state their own."""
    own = network.own_densities
    but = f" but for {own} of {len(network)} layers, which have their own" if own else ""
    return f"{network.name}, density {text}{but}"


def cases_of(description: Description, file: Path, allow_import: Sequence[str] = ()) -> tuple[Case, ...]:
    """All networks of a sweep file with all their batches and word widths; files are named relative to the sweep file.

    Args:
        file: the sweep file.
        allow_import: modules of which it, and the folders of `plans`, may name a callable.

    Raises:
        InputError: for a network that cannot be had, a callable that is not allowed, and where two have one name, or one comes
            twice.
        ImportFailed, MissingDependency: as `hwflow.network.load`, and as `hwflow.load_pruned` for plans.
    """
    cases = []
    for bits in description.bits:
        for batch in description.batch:
            networks = list(_networks(description, NamedIn(file, allow_import), batch))
            for name, times in Counter(network.name for network in networks).items():
                if times > 1:
                    raise InputError(f"networks: {times} of them are called {name!r}; results are told apart by the name.")
            whole = description.options().whole_network
            if description.execution != AUTO:
                networks = [run_as(one, wanted(one, description.execution)) for one in networks]
            cases += [Case(network.with_bits(*bits) if bits else network, bits, whole) for network in networks]
    for (name, batch, _), times in Counter((case.network.name, case.batch, case.bits) for case in cases).items():
        if times > 1:
            raise InputError(f"batch, bits: {name} at batch {batch} comes {times} times; null is the network's own batch.")
    return tuple(cases)


def _networks(description: Description, named_in: NamedIn, batch: int | None) -> Iterator[Network]:
    for spec in description.networks:
        yield from _with_zeros(_named(spec, named_in, batch), description, named_in.file.parent)
    for plan in description.plans:
        pruned = _pruned(named_in.file.parent / plan, named_in.allowed, batch)
        yield from _with_zeros(pruned, description, named_in.file.parent)


def _with_zeros(network: Network, description: Description, folder: Path) -> Iterator[Network]:
    """A network with each of the file's densities, which its name tells."""
    for text in description.densities:
        if text is None:
            yield network
        else:
            found = network.with_densities(given_densities(text, "densities", folder))
            yield replace(found, name=with_density(network, text))


def _named(spec: NetworkSpec, named_in: NamedIn, batch: int | None) -> Network:
    shape = spec.input
    if shape is not None and batch is not None:
        shape, batch = (batch, *shape[1:]), None
    name = located(spec.network, named_in.file.parent, list(model_zoo.NAMES))
    try:
        return load(name, input_shape=shape, batch=batch, named_in=named_in)
    except InputError as error:
        if "(input_shape=)" not in str(error):
            raise
        said = str(error).removesuffix(".")
        raise InputError(
            f"{said}; in {named_in.file.name} that is networks: [{{network: {spec.network}, input: [1, 3, 224, 224]}}]."
        ) from None


def _pruned(folder: Path, allow_import: Sequence[str], batch: int | None) -> Network:
    from hwflow.compression.result import pruned_network

    return pruned_network(folder, batch=batch, allow_import=allow_import)
