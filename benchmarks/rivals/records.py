"""What was compared, a JSON line for each layer, column and rival, and its tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals.tools import COLUMNS, RIVALS, Column, Settings

RECORDS = Path(__file__).parents[1] / "results" / "rivals.jsonl"

_NEAR = 0.001 * (1 + 1e-9)

Record = dict[str, Any]


def read(file: Path) -> list[Record]:
    """The records, the last one of each question."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return list({question(r): r for r in map(json.loads, lines)}.values())


def question(record: Record) -> tuple[str, ...]:
    """What two records have in common of which the later one counts."""
    names = ("rival", "network", "layer", "column")
    return (*(str(record[name]) for name in names), json.dumps(record["settings"], sort_keys=True))


def settled(records: Sequence[Record], asked: Record) -> bool:
    """Whether the question is answered, or was left without an answer after at least as many CPU seconds as now allowed."""
    return any(r["theirs"]["ended"] or r["cap_s"] >= asked["cap_s"] for r in _of(records, asked))


def begun(records: Sequence[Record], asked: Record) -> Record:
    """Parts of a search that did not end, and the CPU seconds that they took, for the rival to go on from."""
    parts = [r["theirs"] for r in _of(records, asked) if "parts" in r["theirs"]]
    return {"found": parts[-1]["parts"], "spent_s": parts[-1]["cpu_s"]} if parts else {"found": [], "spent_s": 0.0}


def _of(records: Sequence[Record], asked: Record) -> list[Record]:
    return [r for r in records if all(r[name] == asked[name] for name in asked if name != "cap_s")]


def edp(said: dict[str, Any]) -> float:
    """Picojoule times cycles."""
    return float(said["energy"]) * float(said["cycles"])


def ratio(record: Record) -> float | None:
    """hwflow's EDP in parts of the rival's, by hwflow's analysis; None where the rival has no mapping that it can judge."""
    theirs = record["theirs"]
    return edp(record["ours"]) / edp(theirs) if "energy" in theirs else None


def own_ratio(record: Record) -> float | None:
    """The same by the rival's model, of the mapping that it likes best of those that fit; None where it cannot say."""
    said, best = record["ours"]["by_rival"], record["theirs"].get("best_by_rival")
    return None if best is None or "error" in said else edp(said) / edp(best)


def as_wide(records: Sequence[Record]) -> list[Record]:
    """The records, where a mapping of a narrower column that is better than a search's own counts as its answer, too.

    A column has all that a narrower one has, but a search of more need not find it again. `theirs` says from which `column` the
    mapping is; the rival's own model may like another one best.
    """
    return [_as_wide(r, [o for o in records if _narrower(o, r)]) if r["theirs"]["ended"] else r for r in records]


def _narrower(one: Record, other: Record) -> bool:
    same = all(one[name] == other[name] for name in ("rival", "network", "layer"))
    return same and COLUMNS.index(one["column"]) < COLUMNS.index(other["column"])


def _as_wide(record: Record, narrower: Sequence[Record]) -> Record:
    theirs = dict(record["theirs"])
    for other in narrower:
        said = other["theirs"]
        if "energy" in said and ("energy" not in theirs or edp(said) < edp(theirs) * (1 - 1e-6)):
            theirs |= {name: said[name] for name in ("energy", "cycles", "space")} | {"column": other["column"]}
        if "best_by_rival" in said:
            known = theirs.get("best_by_rival", said["best_by_rival"])
            theirs["best_by_rival"] = min(known, said["best_by_rival"], key=edp)
    return record | {"theirs": theirs}


def better_inside(records: Sequence[Record]) -> list[Record]:
    """Those where a rival's mapping, in a space that hwflow searched in that column, is better than hwflow's at any effort."""
    return [r for r in as_wide(records) if _inside(r) and edp(r["theirs"]) < _longest(r) * (1 - 1e-6)]


def _longest(record: Record) -> float:
    """The EDP of hwflow's mapping after the searches with more effort, if there were any."""
    return float(record["ours"]["longer"]["value"]) if "longer" in record["ours"] else edp(record["ours"])


def below_bound(records: Sequence[Record]) -> list[Record]:
    """Those where such a mapping is below a bound that hwflow states or proves, which would make that bound wrong."""
    bounds = [max(r["ours"]["bound"], r["ours"].get("proof", {}).get("bound", 0.0)) for r in records]
    return [r for r, bound in zip(records, bounds, strict=True) if _inside(r) and edp(r["theirs"]) < bound * (1 - 1e-9)]


def _inside(record: Record) -> bool:
    spaces = ("perfect",) if record["column"] == "perfect" else ("perfect", "imperfect")
    return record["theirs"].get("space") in spaces


def tables(records: Sequence[Record]) -> str:
    """For each rival a table of layers by columns, in Markdown."""
    parts = []
    for name, rival in RIVALS.items():
        some = [r for r in records if r["rival"] == name]
        if some:
            versions, dates = (", ".join(sorted({r[of] for r in some})) for of in ("version", "date"))
            rows = _rows(name, as_wide(some))
            parts.append("\n".join([f"**{rival.title} {versions}**, {dates}", "", *rows, "", *_notes(name, some)]))
    return "\n\n".join(parts)


def timeloop_deviation(records: Sequence[Record]) -> tuple[float, int]:
    """By how much timeloop-model is from hwflow's analysis at most, and of how many mappings it was asked.

    Energy of all mappings, and cycles where no memory is split: its parts share a bandwidth, of which Timeloop knows nothing.
    """
    off, count = 0.0, 0
    for record in records:
        for side in (record["ours"], record["theirs"]):
            if real := side.get("by_timeloop"):
                kinds = ("energy",) if side.get("split") else ("energy", "cycles")
                off, count = max(off, *(abs(real[kind] / side[kind] - 1) for kind in kinds)), count + 1
    return off, count


def not_ended(record: Record) -> str:
    """What a search that did not end had used up, and how far it was."""
    theirs = record["theirs"]
    limit = f"{record['cap_s']:g} s" if theirs["ran_out_of"] == "time" else f"{record['memory_mb']:g} MB"
    return f"not in {limit}" if "parts" not in theirs else f"orders of registers in {limit}: {len(theirs['parts'])}"


def _rows(name: str, records: Sequence[Record]) -> Iterator[str]:
    yield f"| layer | {' | '.join(COLUMNS)} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    shown: dict[Column, list[Record]] = {column: [] for column in COLUMNS}
    for layer in dict.fromkeys(r["layer"] for r in records):
        cells = []
        for column in COLUMNS:
            some = [r for r in records if (r["layer"], r["column"]) == (layer, column)]
            cell, record = _cell(some, RIVALS[name].settings[column])
            cells.append(cell)
            shown[column] += [record] if record else []
        yield f"| {layer} | {' | '.join(cells)} |"
    for title, row in (("geometric mean", _mean), ("hwflow's larger in", _worse), ("CPU seconds", _times)):
        yield f"| {title} | {' | '.join(row(shown[c]) if shown[c] else '' for c in COLUMNS)} |"


def _notes(name: str, records: Sequence[Record]) -> Iterator[str]:
    settings: Settings = {}
    for column in COLUMNS:
        new = RIVALS[name].settings[column]
        changes = ", ".join(f"{k} {json.dumps(v)}" for k, v in new.items() if k not in settings or settings[k] != v)
        yield f"- {column}: {changes}{' (otherwise as before)' if settings else ''}"
        settings = new
    yield from _proofs(records)
    off, count = timeloop_deviation(records)
    for r in records:
        if reasons := r["theirs"].get("refused"):
            some = f"{sum(reasons.values())} of {r['theirs']['candidates']} mappings"
            why = "; ".join(dict.fromkeys(reason.split(". ")[0].rstrip(".") for reason in reasons))
            changed = _changed(r["settings"], RIVALS[name].settings[r["column"]])
            where = ", ".join(filter(None, (r["column"], r["layer"].split()[0], changed)))
            yield f"- {where}: {some} left out: {why}"
    yield f"- timeloop-model's verdict on {count} of these mappings, hwflow's among them, differs by at most {100 * off:.5f} %"


def _proofs(records: Sequence[Record]) -> Iterator[str]:
    """How near the proven bound hwflow's mappings with perfect factors are."""
    some = {r["layer"]: r["ours"] for r in records if "proof" in r["ours"]}
    if not some:
        return
    gaps = {layer: 1 - ours["proof"]["bound"] / edp(ours) for layer, ours in some.items()}
    near, far = ([layer for layer in gaps if (gaps[layer] <= _NEAR) == is_near] for is_near in (True, False))
    rest = ", ".join(f"{layer.split()[0]} {100 * gaps[layer]:.1f} %" for layer in far)
    yield (
        f"- perfect: hwflow's mapping is proven to be within 0.1 % of the best one for {len(near)} of {len(gaps)} layers"
        f"{'; of the others the bound is lower by: ' + rest if rest else ''}"
    )


def _cell(records: Sequence[Record], strongest: Settings) -> tuple[str, Record | None]:
    """A column's cell of one layer, and the record that counts: of the strongest settings, or else the best that ended."""
    full = next((r for r in records if r["settings"] == strongest), None)
    if full is not None and full["theirs"]["ended"] and "best_by_rival" in full["theirs"]:
        return _ratios(full), full
    failed = "" if full is None else "does not fit the chip" if full["theirs"]["ended"] else not_ended(full)
    weaker = [r for r in records if r["settings"] != strongest and r["theirs"]["ended"]]
    if not weaker:
        if full is not None and ratio(full) is not None:
            return f"{_ratios(full)} ({failed})", full
        return failed, None
    best = min((r for r in weaker if ratio(r) is not None), key=lambda r: edp(r["theirs"]), default=weaker[-1])
    changed = _changed(best["settings"], strongest)
    return f"{_ratios(best)} ({'; '.join(filter(None, (failed, changed)))})", best


def _changed(settings: Settings, strongest: Settings) -> str:
    return ", ".join(f"{k}={json.dumps(v)}" for k, v in settings.items() if strongest.get(k) != v)


def _ratios(record: Record) -> str:
    judged, own = ratio(record), own_ratio(record)
    mark = ("" if record["theirs"].get("space") != "beyond" else "*") + ("†" if "column" in record["theirs"] else "")
    more = ""
    if (longer := record["ours"].get("longer")) is not None:
        more = f" (effort {longer['effort']}: {longer['value'] / edp(record['theirs']):.3f})"
    return (
        f"{'not judged' if judged is None else f'{judged:.3f}{mark}{more}'} / {'cannot say' if own is None else f'{own:.3f}'}"
    )


def _mean(records: Sequence[Record]) -> str:
    means = []
    for of in (ratio, own_ratio):
        some = [value for value in map(of, records) if value is not None]
        means.append(f"{statistics.geometric_mean(some):.3f} ({len(some)})" if some else "")
    return " / ".join(means)


def _worse(records: Sequence[Record]) -> str:
    counts = []
    for of in (ratio, own_ratio):
        some = [value for value in map(of, records) if value is not None]
        counts.append(f"{sum(value > 1 + 1e-6 for value in some)} of {len(some)}")
    return " / ".join(counts)


def _times(records: Sequence[Record]) -> str:
    ratios = [r["theirs"]["cpu_s"] / r["ours"]["cpu_s"] for r in records]
    return f"{statistics.geometric_mean(ratios):.0f} times hwflow's"
