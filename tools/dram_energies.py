"""`python -m tools.dram_energies`: derive the energy per bit of DRAMs from their currents; rewrites the derived fields of
`arch_templates/energy/dram.yaml`.

The formulas are those of Micron's technical notes TN-41-01 (DDR3) and TN-40-07 (DDR4), per bit moved. Voltages are in volts,
currents in mA, times in ns, rates in Gb/s, so energies are in pJ:

    burst(read)  = sum over supply rails of V (IDD4R - IDD3N) / (pins x rate)        likewise with IDD4W for a write
    activate     = sum over supply rails of V (IDD0 - IDD2N) tRC / (bursts per activation x bits per burst)
    termination  = V^2 / (driver + termination resistance) / 2 / rate                per pin, half of the bits low
    standby      = sum over supply rails of V IDD3N / (pins x rate)                  at full bandwidth

`activate` takes precharged standby (IDD2N) as its baseline for the whole of tRC, where the notes take active standby (IDD3N)
while the row is open: DDR5 specifies IDD3N with all banks open, which exceeds IDD0. `bursts per activation` is hwflow's own
assumption. A rail marked `io` feeds output drivers. Standby is listed, but not charged; refresh is not included.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwflow.files import folder, read_yaml, write_text

COMMAND = "python -m tools.dram_energies"
_DIGITS = 3

_HEAD = f"""\
# Energy per bit of DRAMs that Accelergy's CACTI plug-in does not know, from currents of data sheets and measurements.
# Voltages in V, currents in mA per device or channel, times in ns. `pj_per_bit` and `bandwidth_gb_s` are derived:
# edit the other fields, then run `{COMMAND}`, which also says how.
"""


def derive(memory: Mapping[str, Any], bursts_per_activation: float) -> dict[str, float]:
    """The derived energies of one memory, in pJ per bit: "read" and "write", and what they consist of."""
    rate = memory["pins"] * memory["gbit_s_per_pin"]
    pattern = memory.get("data_pattern", {"random": 1.0, "static": 1.0})
    factor = pattern["random"] / pattern["static"]
    parts = dict.fromkeys(("activate", "burst_read", "burst_write", "io_read", "io_write", "standby"), 0.0)
    for rail in memory["rails"].values():
        kind = "io" if rail.get("io") else "burst"
        if "idd0" in rail:
            charge = (rail["idd0"] - rail["idd2n"]) * memory["t_rc_ns"]
            parts["activate"] += rail["volts"] * charge / (bursts_per_activation * memory["burst_bits"])
        if "idd4r" in rail:
            parts[f"{kind}_read"] += rail["volts"] * (rail["idd4r"] - rail["idd3n"]) / rate * factor
            parts[f"{kind}_write"] += rail["volts"] * (rail["idd4w"] - rail["idd3n"]) / rate * factor
            parts["standby"] += rail["volts"] * rail["idd3n"] / rate
    if ends := memory.get("termination"):
        for way in ("read", "write"):
            milliamperes = 1e3 * ends["volts"] / (ends["driver_ohm"] + ends[f"{way}_ohm"])
            parts[f"io_{way}"] += ends["volts"] * milliamperes / 2 / memory["gbit_s_per_pin"]
    totals = {way: parts["activate"] + parts[f"burst_{way}"] + parts[f"io_{way}"] for way in ("read", "write")}
    return {name: round(value, _DIGITS) for name, value in (totals | parts).items()}


def derived(content: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content with its derived fields computed again."""
    bursts = content["assumptions"]["bursts_per_activation"]
    groups: dict[str, Any] = {}
    for group in ("memories", "compared"):
        groups[group] = {}
        for name, memory in content[group].items():
            given = {field: value for field, value in memory.items() if field not in ("pj_per_bit", "bandwidth_gb_s")}
            groups[group][name] = {**given, "pj_per_bit": derive(_currents(memory, content[group]), bursts)}
            if interface := memory.get("interface"):
                groups[group][name]["bandwidth_gb_s"] = round(interface["bits"] * memory["gbit_s_per_pin"] / 8, _DIGITS)
    return {"assumptions": content["assumptions"], **groups}


def _currents(memory: Mapping[str, Any], others: Mapping[str, Any]) -> Mapping[str, Any]:
    """The memory whose currents hold: itself, or the one that `like` names, whose energy per bit it is given."""
    found: Mapping[str, Any] = others[memory["like"]] if "like" in memory else memory
    return found


def document(content: Mapping[str, Any]) -> str:
    """The text of dram.yaml."""
    return _HEAD + yaml.safe_dump(derived(content), sort_keys=False, width=200, allow_unicode=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=folder("arch_templates") / "energy" / "dram.yaml")
    options = parser.parse_args(arguments)
    content = derived(read_yaml(options.file, "currents of DRAMs"))
    write_text(options.file, document(content))
    for name, memory in (content["memories"] | content["compared"]).items():
        energies = memory["pj_per_bit"]
        print(f"{name:8} read {energies['read']:6.2f} write {energies['write']:6.2f} pJ/bit; {memory.get('includes', '')}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
