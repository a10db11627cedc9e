"""A `Network` from an ONNX file. Only shapes are read: weights may be missing, stored outside, or made by nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwflow.errors import ImportFailed
from hwflow.files import checked
from hwflow.network.network import Network
from hwflow.optional import needed


def read(path: str | Path, *, input_shape: Any = None, batch: int | None = None) -> Network:
    """The layers of an ONNX model, in the file's (topological) order, named by its nodes.

    What depends on no input of the graph is a constant that is computed once: neither row nor operator.

    Args:
        input_shape: sizes of the first input, batch included, a tuple of shapes for all inputs, or a mapping from names of
            inputs to shapes; needed where the file leaves sizes open other than the batch.
        batch: size of the first axis of the inputs. Where the file fixes it, it is changed, if the graph allows that.

    Raises:
        InputError: where the file does not exist, or `input_shape` and `batch` contradict the file or each other.
        ImportFailed: naming the node that cannot be expressed, or the input and dimension whose size is missing.
        MissingDependency: where onnx is not installed.
    """
    path = Path(path)
    model = _load(path)
    graph = model.graph
    if not graph.node:
        raise ImportFailed(f"{path} holds no ONNX graph with nodes in it.")
    from hwflow.network._onnx_graph import Execution
    from hwflow.network._onnx_inputs import fix_inputs
    from hwflow.network._onnx_parameters import counted_once

    fix_inputs(graph, path, input_shape, batch)
    executed = Execution(model, path)
    layers, other = counted_once(executed.rows, executed.constants)
    if not layers:
        raise ImportFailed(f"{path} holds no convolution, linear layer or matrix product; there is nothing to cost.")
    return Network(path.stem, layers, other, graph=executed.dataflow)


def _load(path: Path) -> Any:
    checked(path, "", "onnx", ": there is no such file. NETWORK may be an .onnx file; check the path")
    onnx = needed("onnx", f"reading {path}", "onnx")
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise ImportFailed(f"{path} cannot be read as ONNX: {' '.join(str(error).split())}") from error


__all__ = ["read"]
