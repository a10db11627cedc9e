"""hwflow's search against timeloop-mapper's recorded answers: never worse on a layer, clearly better on a network."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from benchmarks import parity
from hwflow.store import Store
from hwflow.timeloop.engine import find_engine
from hwflow.timeloop.process import Completed
from tools import references
from tools.references import OBJECTIVES, OTHERS, WHOLE, Comparison, Reference

CLEARLY = {
    "edp": {"alexnet": 0.95, "resnet18": 0.6, "resnet20": 0.5, "mobilenet_v2": 0.9},
    "energy": {"alexnet": 0.96, "resnet18": 0.9, "resnet20": 0.91, "mobilenet_v2": 0.93},
}
"""What part of theirs a network's sum is at most. In AlexNet linear layers weigh most, which leave a search little to find."""


@pytest.fixture(scope="module")
def recorded() -> list[Reference]:
    return references.load()[1]


def of(recorded: Sequence[Reference], accelerator: str, objective: str) -> list[Reference]:
    return [r for r in recorded if (r.question.accelerator, r.question.objective) == (accelerator, objective)]


def shape(question: references.Question) -> tuple[object, ...]:
    """What a question is, whatever the layer's name."""
    return question.layer.key, question.accelerator, question.objective


def worse(compared: Sequence[Comparison]) -> str:
    return "\n".join(line for line in references.lines(compared) if line.endswith("WORSE"))


# What is recorded ----------------------------------------------------------------------------------------------------


def test_all_questions_are_answered(recorded: list[Reference]) -> None:
    assert [shape(r.question) for r in recorded] == [shape(question) for question in references.questions()]
    assert len({r.key for r in recorded}) == len(recorded)
    assert not [f"{r.question}: {r.failure}" for r in recorded if r.failure]
    counts = Counter((r.question.accelerator, r.question.objective) for r in recorded)
    assert counts == {
        **{(WHOLE, objective): 58 for objective in OBJECTIVES},
        **{(other, objective): 10 for other in OTHERS for objective in OBJECTIVES},
    }


def test_the_record_says_what_was_run_and_where() -> None:
    provenance, _ = references.load()
    assert provenance["settings"] == asdict(references.SETTINGS)
    assert provenance["settings"]["algorithm"] == "random_pruned"
    assert (provenance["settings"]["victory_condition"], provenance["settings"]["timeout"]) == (1000, 10000)
    assert all(provenance[name] for name in ("tool", "version", "machine"))


def test_the_analysis_confirms_what_timeloop_mapper_says_of_its_mappings(recorded: list[Reference]) -> None:
    wrong = [str(r.question) for r in recorded if not references.confirmed(r)]
    assert not wrong


def test_a_reference_survives_being_written(recorded: list[Reference]) -> None:
    assert [Reference.from_record(r.to_record()) for r in recorded[:3]] == recorded[:3]


# The comparison ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_timeloop_mapper_finds_nothing_better_and_networks_are_clearly_cheaper(
    recorded: list[Reference], objective: references.Objective
) -> None:
    compared = [references.compare(r) for r in of(recorded, WHOLE, objective)]
    assert not worse(compared)
    for network in references.networks():
        ratio = references.network_ratio(network, compared, WHOLE, objective)
        assert ratio is not None
        assert ratio < CLEARLY[objective][network.name], f"{network.name}: {ratio}"


@pytest.mark.parametrize(
    "accelerator", [pytest.param(name, marks=pytest.mark.slow) if name == "simba" else name for name in OTHERS]
)
def test_timeloop_mapper_finds_nothing_better_on_the_other_presets(recorded: list[Reference], accelerator: str) -> None:
    compared = [references.compare(r) for o in OBJECTIVES for r in of(recorded, accelerator, o)]
    assert not worse(compared)


@pytest.mark.timeloop
def test_timeloop_model_is_of_the_same_opinion(recorded: list[Reference]) -> None:
    engine = find_engine("native")
    groups = [of(recorded, accelerator, objective) for accelerator in (WHOLE, *OTHERS) for objective in OBJECTIVES]
    compared = [references.compare(group[i], engine) for i, group in enumerate(groups)]
    assert not worse(compared)


# The tool itself -----------------------------------------------------------------------------------------------------


@dataclass
class FakeEngine:
    """Finds nothing, and counts how often it was asked."""

    name: str = "native"
    asked: int = 0

    def version(self, tool: str) -> str:
        return f"fake {tool}"

    def run(self, command: Sequence[str], folder: Path, limit_s: float) -> Completed:
        self.asked += 1
        return Completed(0, "no valid mappings found within search criteria", False, 1.0)


def test_a_failure_is_recorded_as_such_and_nothing_is_asked_twice(
    recorded: list[Reference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(references, "questions", lambda: iter([recorded[0].question, recorded[1].question]))
    engine, store = FakeEngine(), Store(tmp_path / "answers.sqlite")
    answers = [Reference.from_record(answer) for answer in references.record(engine, store)]
    assert engine.asked == 2
    assert [Reference.from_record(answer) for answer in references.record(engine, store)] == answers
    assert engine.asked == 2
    assert [a.question for a in answers] == [r.question for r in recorded[:2]]
    assert answers[0].failure.startswith("NotMappable: timeloop-mapper on layer features.0")
    assert "no valid mappings found" in answers[0].failure
    assert str(tmp_path) not in answers[0].failure
    failed = references.compare(answers[0])
    assert failed.ratio == 0
    assert answers[0].failure in next(references.lines([failed]))


def test_what_is_worse_or_not_confirmed_is_seen(
    recorded: list[Reference], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = replace(recorded[0], energy=recorded[0].found[0] / 4)
    content = [r.to_record() for r in (better, recorded[1])]
    parity.save(tmp_path / "references.json.gz", {}, content)
    assert references.main(["compare", "--references", str(tmp_path / "references.json.gz")]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(str(better.question))
    assert printed[0].endswith("WORSE")
    assert not printed[1].endswith("WORSE")
    assert any("2 layers" in line and "1 worse than timeloop-mapper" in line for line in printed)
    assert printed[-2:] == ["The analysis confirms 1 of 2 references.", f"  {better.question}"]


def test_sums_are_over_all_layers_of_a_network(recorded: list[Reference]) -> None:
    """Against a sum written out: ResNet-20 has layers that occur six times."""
    network = next(n for n in references.networks() if n.name == "resnet20")
    theirs = {r.question.layer.key: r for r in of(recorded, WHOLE, "edp")}
    compared = [references.compare(r) for key, r in theirs.items() if key in {layer.key for layer in network}]
    ours = {c.reference.question.layer.key: c.ours for c in compared}
    edps = [
        sum(energy for energy, _ in pairs) * sum(cycles for _, cycles in pairs)
        for pairs in (
            [(ours[layer.key].energy or 0, ours[layer.key].cycles or 0) for layer in network],
            [theirs[layer.key].found[:2] for layer in network],
        )
    ]
    assert references.network_ratio(network, compared, WHOLE, "edp") == pytest.approx(edps[0] / edps[1])
    assert references.network_ratio(network, compared[1:], WHOLE, "edp") is None
