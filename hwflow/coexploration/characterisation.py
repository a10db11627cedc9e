"""`characterise`: the answers of one level for layers on a Latin hypercube of chips, in a folder that is continued.

records.jsonl                           what was asked, and every configuration as it was answered
characterised.parquet, characterised.csv   a row a configuration and layer, made of the records whenever a run ends
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.coexploration import records as record_files
from hwflow.coexploration.knobs import Knob, configurations, knobs_of
from hwflow.coexploration.records import Record, Records, Row
from hwflow.coexploration.samples import check_installed, write_tables
from hwflow.cost.backend import backend_of, check_used
from hwflow.cost.inputs import accelerator_of, network_of
from hwflow.cost.options import CostOptions
from hwflow.cost.session import Notify, warn
from hwflow.errors import InputError, check_whole, is_number, shown
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.pe_types import PE_TYPES, pe_type
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.ppa.variables import OWN, field_of
from hwflow.progress import Shown
from hwflow.progress import shown as shown_progress
from hwflow.sweeping import runners
from hwflow.sweeping.unit import ON_CHIP, Answer, Failure, Unit, failure

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike
    from hwflow.network.load import NetworkLike

CHIPS = 300
"""Of each PE type."""


@dataclass(frozen=True)
class Characterised:
    """What a run left: how many of the configurations are answered, and why others are not."""

    folder: Path
    answered: int
    expected: int
    failures: Counter[str]
    layers: int


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the tables of what was finished were written."""

    def __init__(self, result: Characterised) -> None:
        super().__init__()
        self.result = result


def characterise(
    networks: Sequence[NetworkLike],
    folder: str | Path,
    *,
    base: AcceleratorLike = "eyeriss",
    pe_types: Sequence[str] = tuple(PE_TYPES),
    ranges: Mapping[str, Sequence[float]] | None = None,
    chips: int = CHIPS,
    widths: Sequence[float] = (1.0,),
    seed: int = 0,
    level: str = "mid",
    objective: str = "edp",
    energy: str = "fitted",
    input_shape: Any = None,
    runner: str = "local",
    address: str | None = None,
    jobs: int = 1,
    store: bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> Characterised:
    """Cost the layers of networks on chips of a Latin hypercube, for a model to be fitted to; a part is continued.

    Args:
        networks: whose layers; each different shape is costed once a chip. As `hwflow.estimate` takes them.
        folder: where records and tables go.
        base: the chip whose fields are varied.
        pe_types: its types of PEs (`hwflow list pe-types`), or `own` for the base as it is.
        ranges: by field the smallest and the largest value, where the default (`hwflow.coexploration.knobs`) is not wanted.
        chips: of each PE type.
        widths: shares of the channels at which each network is costed, so that a model may be asked for pruned ones.
        seed: of the hypercube.
        level: with mappings, mid or fine.
        objective: what mappings minimise.
        energy: where energies come from; recorded ones would stand out from the fitted ones of other sizes.
        input_shape: of all networks, batch included.
        runner, address, jobs: as `hwflow.sweep` has them.
        store: whether layers are looked for, and kept, in the user's store.
        progress: told what is done; None shows it in a terminal, False nowhere.
        notify: told in a sentence what a user should know; None warns.

    Raises:
        InputError: for what cannot be used, and where the folder holds another characterisation.
        MissingDependency: where a package of the extra `sweep` or `ray` is missing.
        HwflowError: where nothing can be written, or no Ray cluster answers.
    """
    check_installed()
    tell = notify or warn
    options = CostOptions(level=level, objective=objective, energy=energy, fallback="none")  # type: ignore[arg-type]
    check_used(options)
    if not backend_of(level).maps:
        raise InputError(f"level is {level!r}, which has no mappings to characterise chips by; ask for mid or fine.")
    chip = accelerator_of(base)
    if chip.pe_type is not None:
        raise InputError(
            f"the base has PEs of type {chip.pe_type}: name those to characterise by pe_types, and a base without."
        )
    if field_of(chip, f"{chip.dram.name}.bandwidth_gb_s") is None:
        raise InputError(f"{chip.dram.name}.bandwidth_gb_s of {chip.name} is not set: DRAM cycles need it.")
    types = _types(pe_types)
    chip, knobs = _varied(chip, knobs_of(chip, ranges or {}))
    check_whole("chips", chips)
    check_whole("seed", seed, 2**32 - 1, 0)
    layers = _layers([network_of(network, input_shape=input_shape) for network in networks], widths)
    drawn = configurations(knobs, types, chips, seed)
    header = _header(chip, types, knobs, layers, drawn, options, seed, chips)
    opening = runners.opened(runner, address, jobs)
    with (
        record_files.opened(Path(folder), header) as records,
        shown_progress(progress, "characterising") as bar,
    ):
        if records.damaged:
            tell(f"{records.damaged} lines of {records.path} were damaged and taken out; their chips are costed again.")

        def result() -> Characterised:
            write_tables(records)
            failures = Counter(r.reason for r in records.answers.values() if r.reason)
            return Characterised(Path(folder), len(records.answers) - failures.total(), len(drawn), failures, len(layers))

        told: set[str] = set()
        try:
            with opening as run, contextlib.closing(run(_units(chip, layers, drawn, options, records, store))) as answers:  # type: ignore[type-var]
                for unit, answer in answers:
                    records.add(_record(unit, answer))
                    for text in set(answer.notices) - told:
                        told.add(text)
                        tell(text)
                    if bar is not None:
                        bar(len(records.answers), len(drawn), f"{len(layers)} layers on each")
        except KeyboardInterrupt:
            raise Interrupted(result()) from None
        return result()


@dataclass(frozen=True)
class _Unit(Unit):
    """The layers on one configuration."""

    configuration: int = 0


def _units(
    base: Accelerator,
    layers: tuple[Layer, ...],
    drawn: Sequence[Mapping[str, Any]],
    options: CostOptions,
    records: Records,
    store: bool,
) -> Iterator[Unit]:
    for number, fields in enumerate(drawn):
        known = records.answers.get(number)
        if known is not None and not known.transient:
            continue
        try:
            accelerator = base.with_(fields) if fields else base
        except InputError as error:
            records.add(Record(configuration=number, reason=failure(error).reason))
            continue
        typed = tuple(accelerator.typed(layer) for layer in layers)
        yield _Unit(accelerator, typed, typed[:1], options, store, on_chip=True, configuration=number)


def _record(unit: Unit, answer: Answer) -> Record:
    assert isinstance(unit, _Unit)
    rows, first = [], None
    for layer, told in zip(unit.layers, answer.layers, strict=True):
        if isinstance(told, Failure):
            reason = told.reason if layer.name in told.reason else f"layer {layer.name}: {told.reason}"
            return Record(configuration=unit.configuration, reason=reason, transient=told.transient)
        first = first or told
        row = told.row
        rows.append(
            Row(
                energies=dict(row["energy_by_level"]),
                on_chip_cycles=row[ON_CHIP],
                cycles=row["cycles"],
                dram_bytes=row["dram_bytes"],
                bound_by=row["bound_by"],
            )
        )
    assert first is not None
    return Record(
        configuration=unit.configuration,
        area_um2=first.area_um2,
        unit=first.row["energy_unit"],
        source=first.row["energy_source"],
        rows=tuple(rows),
    )


def _varied(base: Accelerator, knobs: Sequence[Knob]) -> tuple[Accelerator, tuple[Knob, ...]]:
    """The base with the fields that are fixed, and those that are not."""
    fixed = {knob.field: knob.value(0.0) for knob in knobs if knob.low == knob.high}
    varied = tuple(knob for knob in knobs if knob.field not in fixed)
    if not varied:
        raise InputError(f"all of {', '.join(fixed)} are fixed by their ranges, and a model needs a field that varies.")
    changed = {name: value for name, value in fixed.items() if value != field_of(base, name)}
    return base.with_(changed) if changed else base, varied


def _types(given: Sequence[str]) -> tuple[str, ...]:
    if not given or len(set(given)) != len(given):
        raise InputError(f"pe_types is {', '.join(given) or 'empty'}; name each type once, and at least one.")
    for name in given:
        if name != OWN:
            pe_type(name)
    return tuple(given)


def _layers(networks: Sequence[Network], widths: Sequence[float]) -> tuple[Layer, ...]:
    """The different shapes of all networks, at all widths, under names that say where they were first."""
    if not networks:
        raise InputError("networks is empty; name at least one whose layers are to be characterised.")
    if not widths or not all(is_number(w) and 0 < w <= 1 for w in widths):
        raise InputError(f"widths is {shown(list(widths))}; each must be a share of the channels above 0 and at most 1.")
    found: dict[tuple[object, ...], Layer] = {}
    for network in networks:
        for width in widths:
            for place, layer in enumerate(network):
                if layer.bits is not None:
                    raise InputError(
                        f"layer {layer.name} of {network.name} states bits of its own, and layers are characterised at those "
                        "of the PE types: leave them out."
                    )
                first, last = place == 0, place == len(network) - 1
                own = _narrower(layer, width, first=first, last=last)
                if (other := next(iter(found.values()), own)).type != own.type and "conv_transpose" in (other.type, own.type):
                    raise InputError(f"layer {own.name} of {network.name} is of type {own.type}, and others are not: {_APART}.")
                found.setdefault(own.key, own)
    names = Counter(layer.name for layer in found.values())
    return tuple(
        layer if names[layer.name] == 1 else layer.with_(name=f"{layer.name} ({i})") for i, layer in enumerate(found.values())
    )


_APART = "transposed convolutions need a characterisation of their own"


def _narrower(layer: Layer, width: float, *, first: bool, last: bool) -> Layer:
    """With that share of its channels; what the data has, at the ends of the network, stays. A depthwise layer has groups."""

    def share(size: int) -> int:
        return max(1, round(size * width))

    if layer.G > 1:
        return layer.with_(G=share(layer.G))
    return layer.with_(C=layer.C if first else share(layer.C), M=layer.M if last else share(layer.M))


def _header(
    base: Accelerator,
    types: Sequence[str],
    knobs: Sequence[Knob],
    layers: Sequence[Layer],
    drawn: Sequence[Mapping[str, Any]],
    options: CostOptions,
    seed: int,
    chips: int,
) -> dict[str, Any]:
    fields = [knob.field for knob in knobs]
    return {
        "level": options.level,
        "level_version": backend_of(options.level).version,
        "objective": options.objective,
        "energy": options.energy,
        "seed": seed,
        "chips": chips,
        "base": base.model_dump(mode="json", exclude_none=True, exclude={"sources"}),
        "dataflow": base.dataflow,
        "pe_types": list(types),
        "fields": {knob.field: [knob.low, knob.high] for knob in knobs},
        "layers": [
            {"name": la.name, "type": la.type, **la.dims, "strides": list(la.strides), "dilations": list(la.dilations)}
            for la in layers
        ],
        "configurations": [[chip.get("pe_type", OWN), *(chip[field] for field in fields)] for chip in drawn],
    }
