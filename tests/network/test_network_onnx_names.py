"""Names of rows: PyTorch's modules where the file says them, the nodes' names elsewhere; distinct rows have distinct names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from onnx_files import save, weights

from hwflow.network.from_onnx import read

SCOPES = "pkg.torch.onnx.name_scopes"


def product(x: str, y: str, w: str, name: str, scopes: str | None) -> Any:
    node = helper.make_node("MatMul", [x, w], [y], name=name)
    if scopes is not None:
        node.metadata_props.add(key=SCOPES, value=scopes)
    return node


def names(tmp_path: Path, nodes: list[Any], *stored: str) -> list[str]:
    save(tmp_path / "net.onnx", nodes, {"x": [2, 4]}, [weights(name, 4, 4) for name in stored])
    return [layer.name for layer in read(tmp_path / "net.onnx")]


@pytest.mark.parametrize(
    ("scopes", "weight", "expected"),
    [
        ("['', 'features', 'features.0', 'linear']", "val_3", "features.0"),
        ("['', 'features', 'features.1', 'batch_norm']", "features.0.weight", "features.0"),  # fused: the weights' module
        ("['', 'fc', 'linear_2']", "fc.weight", "fc"),
        ("['', 'matmul']", "val_3", "matmul"),
        ("['', '']", "val_3", "node_MatMul_4"),
        ("[]", "val_3", "node_MatMul_4"),
        ("", "val_3", "node_MatMul_4"),
        (None, "features.0.weight", "node_MatMul_4"),
        ("not a list", "val_3", "node_MatMul_4"),
        ("[1, 2]", "val_3", "node_MatMul_4"),
        ("{'a': 1}", "val_3", "node_MatMul_4"),
        ("__import__('os')", "val_3", "node_MatMul_4"),
        ("[" * 5000, "val_3", "node_MatMul_4"),
        ("'" + "a" * 20_000 + "'", "val_3", "node_MatMul_4"),
    ],
)
def test_the_module_of_a_row(tmp_path: Path, scopes: str | None, weight: str, expected: str) -> None:
    assert names(tmp_path, [product("x", "y", weight, "node_MatMul_4", scopes)], weight) == [expected]


def test_rows_of_one_module_have_names_of_their_own(tmp_path: Path) -> None:
    scopes = "['', 'blocks.0', 'blocks.0.attn', 'bmm']"
    nodes = [product("x", "a", "v", "node_bmm", scopes), product("a", "b", "w", "node_bmm_1", scopes)]
    assert names(tmp_path, [*nodes, product("b", "y", "v", "node_bmm_2", None)], "v", "w") == [
        "blocks.0.attn",
        "blocks.0.attn#2",
        "node_bmm_2",
    ]


def test_other_operators_are_named_alike(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["a"], ["y"], name="node_relu")
    relu.metadata_props.add(key=SCOPES, value="['', 'features', 'features.1', 'relu']")
    save(tmp_path / "net.onnx", [helper.make_node("MatMul", ["x", "w"], ["a"]), relu], {"x": [2, 4]}, [weights("w", 4, 4)])
    assert [op.name for op in read(tmp_path / "net.onnx").other] == ["features.1"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_exporter_of_the_installed_pytorch_writes_these_names(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="comes with the extra prune")
    pytest.importorskip("onnxscript", reason="what torch exports with")
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False))
            self.head = nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            return self.head(self.features(x).mean((2, 3)))

    torch.onnx.export(
        Model().eval(), (torch.zeros(1, 3, 8, 8),), str(tmp_path / "net.onnx"), dynamo=True, verbose=False, external_data=False
    )
    if not any(e.key == SCOPES for node in onnx.load(str(tmp_path / "net.onnx")).graph.node for e in node.metadata_props):
        pytest.skip("this version of torch writes no scopes")
    assert [layer.name for layer in read(tmp_path / "net.onnx")] == ["features.0", "features.3", "head"]
