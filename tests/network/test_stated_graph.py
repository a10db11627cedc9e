"""Layer lists that say what each entry reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwflow.errors import InputError
from hwflow.network import Network

HEAD = """
name: net
layers:
  - {name: stem, C: 2, M: 4, P: 4, Q: 4, R: 1, S: 1}
  - {name: a, C: 4, M: 4, P: 4, Q: 4, R: 1, S: 1}
  - {name: b, C: 4, M: 4, P: 4, Q: 4, R: 1, S: 1%s}
"""
SUM = "other:\n  - {name: sum, type: Add, words_in: 128, words_out: 64, inputs: [a, %s]}\n"


def network(tmp_path: Path, text: str) -> Network:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    return Network.from_yaml(path)


def order(net: Network) -> list[str]:
    assert net.graph is not None
    return [(net.layers if o.part == "layers" else net.other)[o.row].name for o in net.graph.operations]


def test_an_operator_runs_as_soon_as_it_can_and_a_skipped_tensor_is_held(tmp_path: Path) -> None:
    net = network(tmp_path, HEAD % ", inputs: [sum]" + SUM % "stem")
    assert order(net) == ["stem", "a", "sum", "b"]
    graph = net.graph
    assert graph is not None
    stem = graph.operations[0].writes[0]
    assert stem in graph.operations[2].reads
    # input and stem's; stem's and a's; the sum over one of them; b's beside it
    assert net.peak_activation_bytes() == 2 * (64 + 64)


def test_without_inputs_a_list_is_a_chain(tmp_path: Path) -> None:
    net = network(tmp_path, HEAD % "")
    assert order(net) == ["stem", "a", "b"]
    stated = network(tmp_path, HEAD % ", inputs: [a]")
    assert stated.graph == net.graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD % ", inputs: [sum]" + SUM % "c", r"net.yaml: unknown producer in other\[0\].inputs 'c'"),
        (HEAD % ", inputs: [stm]", r"unknown producer in layers\[2\].inputs 'stm'. Did you mean 'stem'"),
        (
            HEAD % ", inputs: [sum]" + SUM % "b",
            r"no order of execution: layers\[2\] \(b\) waits for sum, and other\[0\] \(sum\) waits for b",
        ),
        (HEAD % ", inputs: [b]", r"no order of execution: layers\[2\] \(b\) waits for b"),
        (HEAD % ", inputs: []", r"layers\[2\].inputs is empty; it must name at least one entry, or input"),
        (HEAD % ", inputs: 3", r"layers\[2\].inputs is 3; it must be a list of names of layers and operators, or of input"),
        (
            HEAD % ", inputs: [a]" + "other:\n  - {name: r, type: Relu, words_in: 64, words_out: 64}\n",
            r"other\[0\].inputs is missing \(r\): where an entry of the list says what it reads, every operator must",
        ),
        (
            HEAD % ", inputs: [a]" + "other:\n  - {name: a, type: Relu, words_in: 64, words_out: 64, inputs: [a]}\n",
            r"the name 'a' stands twice",
        ),
        ((HEAD % ", inputs: [a]").replace("stem", "input"), r"the name 'input' means the network's own input"),
    ],
)
def test_what_has_no_order_or_no_producer_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(tmp_path, text)
