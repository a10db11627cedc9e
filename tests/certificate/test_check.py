"""Certificates of published layers, and what becomes of them when they are tampered with."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import hwflow
from hwflow.certificate.bounds import Bounds
from hwflow.certificate.check import verify
from hwflow.certificate.document import FORM, Document
from hwflow.cli.verify import _told
from hwflow.errors import HwflowError, InputError, NotCertified
from hwflow.types import Objective

Content = dict[str, Any]


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[Content]:
    """Certificates of three objectives on three chips."""
    folder, result = tmp_path_factory.mktemp("certificates"), []
    for chip, objective, layer in (
        ("eyeriss", "edp", hwflow.Layer("small", C=4, M=8, P=14, Q=7, R=3, S=3)),
        ("tpu_like", "latency", hwflow.Layer("fc", C=32, M=12, type="linear")),
        ("shidiannao_like", "energy", hwflow.Layer("strided", C=4, M=8, P=8, Q=8, R=3, S=3, strides=(2, 2))),
    ):
        file = folder / f"{chip}.json"
        hwflow.map_layer(
            layer, chip, objective=cast("Objective", objective), ragged=False, certificate=file, gap=0.0, store=False
        )
        result.append(json.loads(file.read_text()))
    return result


def holds(content: Content) -> bool:
    """Whether a certificate is accepted; anything but an error of hwflow's own fails the test."""
    try:
        verify(Document.parse(content))
    except HwflowError:
        return False
    return True


def signed(content: Content) -> Content:
    """The same with the digest that belongs to its question and mapping, as a forger would have it."""
    content["digest"] = Document.parse(content).hashed()
    return content


def test_certificates_hold_and_are_tight(contents: list[Content]) -> None:
    for content in contents:
        found = verify(Document.parse(content))
        assert found.bound == pytest.approx(found.value, rel=0.03)
        assert found.spreads == content["others"]["number"] + len(content["leaves"])
        assert found.leaves == len(content["leaves"]) > 0


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("value", lambda c: c.update(value=c["value"] * 0.99)),
        ("bound", lambda c: c.update(bound=c["bound"] * 1.01)),
        ("bound", lambda c: c.update(bound=c["bound"] * (1 + 1e-10))),
        (r"leaves\[0\].bound", lambda c: c["leaves"][0].update(bound=None)),
        (r"leaves\[0\].rates", lambda c: c["leaves"][0].update(rates=[["dram", "both"]] * 3)),
        ("gap", lambda c: c.update(gap=c["gap"] + 1e-6)),
        (r"leaves\[0\].bound", lambda c: c["leaves"][0].update(bound=c["leaves"][0]["bound"] * 1.001)),
        (r"leaves\[0\].bound", lambda c: c["leaves"][0].update(counted="nothing")),
        (r"leaves\[1\].spread", lambda c: c["leaves"].insert(1, c["leaves"][0])),
        ("others.number", lambda c: c["leaves"].pop()),
        ("others.bound", lambda c: c["others"].update(bound=c["others"]["bound"] * 0.5)),
        (r"leaves\[0\].spread", lambda c: c["leaves"][0].update(spread={"pe_array": {"S": 5}})),
        ("there is no loop over M at nowhere", lambda c: c["leaves"][0].update(spread={"nowhere": {"M": 2}})),
        ("mapping", lambda c: c["mapping"].pop()),
        ("digest", lambda c: c["question"]["layer"]["dims"].update(C=2)),
        ("digest", lambda c: c["question"]["energies"]["parts"]["dram"].update(read=1.0)),
    ],
)
def test_what_does_not_hold_is_named(contents: list[Content], claim: str, change: Any) -> None:
    content = copy.deepcopy(contents[0])
    change(content)
    with pytest.raises(NotCertified, match=claim):
        verify(Document.parse(content))


def test_spatial_loops_in_another_order_than_the_dataflow_s_are_refused(contents: list[Content]) -> None:
    """Neighbours hand on along the order, and the space has the dataflow's alone."""
    content = copy.deepcopy(contents[0])
    assert any(_turned(entry) for entry in content["mapping"] if entry["type"] == "spatial")
    with pytest.raises(NotCertified, match=r"mapping: at .* it spreads .*, outermost first; the dataflow allows .*, in this"):
        verify(Document.parse(signed(content)))


def _turned(entry: Content) -> bool:
    """Turn the order of spatial loops around; whether there are several."""
    entry["permutation"] = entry["permutation"][::-1]
    return sum(not factor.endswith("=1") for factor in entry["factors"].split()) > 1


def test_a_smaller_space_is_refused(contents: list[Content]) -> None:
    """Leaves and bounds for fewer mappings than the layer has are no proof, however consistent."""
    content = copy.deepcopy(contents[0])
    worst = min(content["leaves"], key=lambda leaf: leaf["bound"])
    content["leaves"].remove(worst)
    content["bound"] = min(leaf["bound"] for leaf in content["leaves"])
    with pytest.raises(NotCertified, match=r"others.number: it is .*, and .* spatial mappings have no leaf"):
        verify(Document.parse(content))


def test_a_forged_question_fails(contents: list[Content]) -> None:
    for part, name, value in (("layer", "strides", [2, 2]), ("objective", None, "latency"), ("dataflow", None, "flexible")):
        content = copy.deepcopy(contents[0])
        if name is None:
            content["question"][part] = value
        else:
            content["question"][part][name] = value
        assert not holds(signed(content))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["question"]["energies"]["parts"]["dram"].update(read=-1.0), "it must be at least 0"),
        (lambda c: c["question"]["energies"]["parts"]["dram"].update(read=float("nan")), "dram.read"),
        (lambda c: c["question"]["energies"]["parts"]["dram"].update(read="1"), "it must be a number"),
        (lambda c: c["question"]["energies"]["parts"]["dram"].pop("read"), "energies.parts.dram has write"),
        (lambda c: c["question"]["energies"]["parts"].update(fan={}), "energies.parts has .*fan; it must have dram"),
        (lambda c: c["leaves"][0].update(spread={"pe_array": {"S": 1}}), "it must be above 1"),
        (lambda c: c["leaves"][0].update(mixed=[["dram", "both", 1.5]]), "it must be at most 1"),
        (lambda c: c["question"]["layer"]["dims"].update(M=0), "it must be at least 1"),
        (lambda c: c.update(value=float("inf")), "value"),
        (
            lambda c: c["question"].update(
                dataflow={"name": "flexible", "description": "d", "source": "s", "rules": {"array": {}}}
            ),
            "dataflow.name is 'flexible', but its rules are not those",
        ),
    ],
)
def test_descriptions_that_are_not_valid_are_named(contents: list[Content], change: Any, why: str) -> None:
    content = copy.deepcopy(contents[0])
    change(content)
    with pytest.raises((InputError, NotCertified), match=why):
        verify(Document.parse(signed(content)))


def test_too_many_spatial_mappings_are_refused(contents: list[Content], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.certificate.space.MOST", 10)
    with pytest.raises(InputError, match="choices of spatial loops on this accelerator; restrict the dimensions"):
        verify(Document.parse(contents[0]))


def test_names_are_compared_with_what_hwflow_ships(contents: list[Content]) -> None:
    for content in contents:
        found = verify(Document.parse(content))
        assert (found.own_chip, found.own_energies) == (False, False)
    content = copy.deepcopy(contents[0])
    content["question"]["accelerator"]["technology_nm"] = 32  # on which neither counts nor the stated energies depend
    content["question"]["energies"]["parts"]["mac"]["update"] = 1.0  # MAC units have no updates
    found = verify(Document.parse(signed(content)))
    assert (found.own_chip, found.own_energies) == (True, True)
    assert (
        "on a chip that calls itself eyeriss (technology_nm=32), dataflow row_stationary, energies of its own, said to be"
        in _told(found)
    )


def test_costs_of_zero_have_no_gap(contents: list[Content]) -> None:
    content = copy.deepcopy(contents[2])
    for actions in content["question"]["energies"]["parts"].values():
        actions.update(dict.fromkeys(actions, 0.0))
    content.update(value=0.0, bound=0.0, gap=0.0)
    for entry in (*content["leaves"], content["others"]):
        entry["bound"] = 0.0
    assert verify(Document.parse(signed(content))).gap == 0


def test_bounds_above_the_mapping_are_contradictions(contents: list[Content], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounds, "of", lambda self, leaves: [1e30] * len(leaves))
    content = copy.deepcopy(contents[0])
    for leaf in content["leaves"]:
        leaf["bound"] = 1e30
    with pytest.raises(NotCertified, match=r"leaves\[\d+\].bound: it is above the cost of the mapping, which it covers"):
        verify(Document.parse(content))


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    for text, why in (
        ("{", "c.json"),
        ("[]", "a certificate is a mapping of fields, not list"),
        ('{"form": 7}', f"form is 7; this version of hwflow reads certificates of form {FORM}"),
        (f'{{"form": {FORM}, "valu": 3}}', "valu"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=why):
            hwflow.verify(file)


def mutations(content: Content, rng: random.Random) -> Iterator[Content]:
    """Copies, each with one number, name or list of the claims, the mapping or the question changed.

    The digest stays. With a new one, a stride of a layer without a kernel makes another question with the same answer, and an
    order of loops that costs the same another certificate that holds.
    """
    while True:
        mutated = copy.deepcopy(content)
        place: Any = mutated
        name: Any = rng.choice(["mapping", "value", "bound", "gap", "others", *["leaves"] * 4, "question"])
        if name == "question":
            place, name = mutated["question"], rng.choice(["layer", "objective", "factors"])
        while isinstance(place[name], (dict, list)) and place[name]:
            place = place[name]
            name = rng.choice(sorted(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if rng.random() < 0.1:
                break
        old = place[name]
        if isinstance(old, bool):
            place[name] = not old
        elif isinstance(old, int):
            place[name] = old + rng.choice([-1, 1, old])
        elif isinstance(old, float):
            place[name] = old * rng.choice([0.5, 0.999, 1.001, 2]) + 1e-3
        else:
            del place[name]
        if mutated != content:
            yield mutated


def reject(contents: list[Content], count: int, seed: int) -> None:
    rng = random.Random(seed)
    several = [mutations(content, rng) for content in contents]
    for n in range(count):
        original = contents[n % len(contents)]
        mutated = next(several[n % len(several)])
        changed = {name: mutated.get(name) for name in original if mutated.get(name) != original[name]}
        assert not holds(mutated), f"{changed} was { ({name: original[name] for name in changed}) }"


def test_mutated_certificates_are_rejected(contents: list[Content]) -> None:
    reject(contents, 50, seed=3)


@pytest.mark.slow
def test_a_thousand_mutated_certificates_are_rejected(contents: list[Content]) -> None:
    reject(contents, 1000, seed=4)
