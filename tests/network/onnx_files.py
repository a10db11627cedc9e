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
