"""What a characterisation found, as arrays for a fit and as tables.

Tables are made of the records alone, sorted by configuration, and hold no times: the same bytes however often a run was
interrupted.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.coexploration.records import Record, Records
from hwflow.files import write_bytes
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.optional import needed
from hwflow.ppa.variables import field_of

PARQUET, CSV = "characterised.parquet", "characterised.csv"


@dataclass(frozen=True)
class Samples:
    """The answered configurations of one PE type, arrays [configuration] or [configuration, layer].

    Attributes:
        numbers: of the configurations.
        values: of the varied fields, [configuration, field].
        energies: by part of the chip.
        area_um2: None where it is not known.
        source: of the energies.
    """

    numbers: Ints
    values: Floats
    energies: Mapping[str, Floats]
    on_chip_cycles: Floats
    cycles: Floats
    dram_bytes: Floats
    area_um2: Floats | None
    source: str

    @property
    def energy(self) -> Floats:
        """Of all parts together."""
        return np.asarray(sum(self.energies.values()))


def layers_of(header: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers that were costed."""
    return tuple(Layer(**layer) for layer in header["layers"])


def base_of(header: Mapping[str, Any]) -> Accelerator:
    """The chip whose fields were varied."""
    return Accelerator.from_dict(header["base"])


def samples_of(records: Records, pe_type: str) -> Samples:
    """What was answered for one PE type, in the order of the configurations."""
    drawn = records.header["configurations"]
    numbers = [n for n in sorted(records.answers) if records.answers[n].rows and drawn[n][0] == pe_type]
    found = [records.answers[n] for n in numbers]
    parts = list(found[0].rows[0].energies) if found else []

    def column(of: Any) -> Floats:
        return np.array([[of(row) for row in record.rows] for record in found], dtype=np.float64)

    areas = [record.area_um2 for record in found]
    return Samples(
        np.array(numbers, dtype=np.int64),
        np.array([drawn[n][1:] for n in numbers], dtype=np.float64),
        {part: column(lambda row, part=part: row.energies[part]) for part in parts},
        column(lambda row: row.on_chip_cycles),
        column(lambda row: row.cycles),
        column(lambda row: row.dram_bytes),
        None if None in areas else np.array(areas, dtype=np.float64),
        found[0].source if found else "",
    )


def check_installed() -> None:
    """Refuse before the work, not after it, where the tables cannot be written.

    Raises:
        MissingDependency: where pyarrow is not installed.
    """
    needed("pyarrow", "a characterisation", "sweep")


def write_tables(records: Records) -> None:
    """Write the answered configurations as Parquet and CSV.

    Raises:
        HwflowError: where a file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    header = records.header
    base, layers, fields = base_of(header), layers_of(header), list(header["fields"])
    rows = [
        row
        for number in sorted(records.answers)
        if records.answers[number].rows
        for row in _rows(records.answers[number], header["configurations"][number], fields, layers, base)
    ]
    table = pa.Table.from_pylist(rows)
    for name, write in ((PARQUET, pa.parquet.write_table), (CSV, pa.csv.write_csv)):
        content = io.BytesIO()
        write(table, content)
        write_bytes(records.path.parent / name, content.getbuffer())


def _rows(
    record: Record, drawn: Sequence[Any], fields: Sequence[str], layers: Sequence[Layer], base: Accelerator
) -> list[dict[str, Any]]:
    values: dict[str, Any] = dict(zip(fields, drawn[1:], strict=True))
    clock = values.get("clock_mhz", base.clock_mhz) * 1e6
    bandwidth = values.get(f"{base.dram.name}.bandwidth_gb_s") or field_of(base, f"{base.dram.name}.bandwidth_gb_s") or 0.0
    rows = []
    for layer, row in zip(layers, record.rows, strict=True):
        energy, latency = sum(row.energies.values()), row.cycles / clock
        pj = record.unit == "pJ"
        rows.append(
            {
                "configuration": record.configuration,
                "pe_type": drawn[0],
                **values,
                "layer": layer.name,
                **{str(dim): size for dim, size in layer.dims.items()},
                "strides": "x".join(map(str, layer.strides)),
                "macs": layer.macs,
                "energy_pj": energy if pj else None,
                "energy_normalized": None if pj else energy,
                "on_chip_cycles": row.on_chip_cycles,
                "dram_cycles": row.dram_bytes / (bandwidth * 1e9) * clock,
                "cycles": row.cycles,
                "latency_s": latency,
                "power_w": energy * 1e-12 / latency if pj else None,
                "dram_bytes": row.dram_bytes,
                "bound_by": row.bound_by,
                "area_um2": record.area_um2,
                **{f"energy_{part}": amount for part, amount in row.energies.items()},
                "energy_source": record.source,
            }
        )
    return rows
