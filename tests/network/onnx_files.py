"""ONNX files for tests, made with onnx.helper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weights(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str | None] | None],
    stored: Sequence[Any] = (),
    *,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    **extra: Any,
) -> Path:
    """An ONNX file of these nodes; its output is the last node's."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        list(stored),
    )
    imports = [helper.make_opsetid("", opset), *extra.pop("imports", ())]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8, **extra), str(path))
    return path


# Subgraphs -----------------------------------------------------------------------------------------------------------

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
IMAGE = {"x": [1, 4, 8, 8]}
MACS = 64 * 9 * 16  # a 3 x 3 convolution of 4 on 4 channels, 8 x 8


def body(
    nodes: Sequence[Any], outputs: Sequence[str], inputs: Sequence[tuple[str, int]] = (), stored: Sequence[Any] = ()
) -> Any:
    """A subgraph; its values have no shapes."""
    return helper.make_graph(
        list(nodes),
        "body",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(stored),
    )


def scalar(name: str, value: Any, dtype: Any) -> Any:
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def conv(x: str, y: str, w: str = "w", name: str = "") -> Any:
    return helper.make_node("Conv", [x, w], [y], name=name or f"conv_{y}", pads=[1, 1, 1, 1])


def choice(condition: str, result: str, then: Any, other: Any) -> Any:
    return helper.make_node("If", [condition], [result], name=f"if_{result}", then_branch=then, else_branch=other)


def loop(inner: Sequence[Any], carried: str, outputs: Sequence[str], inputs: Sequence[str], stored: Sequence[Any] = ()) -> Any:
    """A loop with one carried value, `h` in its body."""
    given = [("i", INT64), ("go", BOOL), ("h", FLOAT)]
    going = helper.make_node("Identity", ["go"], ["go_on"])
    return helper.make_node(
        "Loop",
        list(inputs),
        list(outputs),
        name="loop",
        body=body([*inner, going], ["go_on", carried, *outputs[1:]], given, stored),
    )
