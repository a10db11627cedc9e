# mypy: allow-subclassing-any
"""Recorder of the operators that a running PyTorch model executes, as rows named after its modules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import _aten
from hwflow.network._parameter_uses import Readings
from hwflow.network._parameters import Constants, Origin
from hwflow.network._rows import convolution, product
from hwflow.network.graph import GraphBuilder, Made
from hwflow.network.network import Network, OtherOp


class _Call(NamedTuple):
    """One operator that is executed: `op` of `namespace::op`, its arguments by name."""

    func: Any
    namespace: str
    op: str
    arguments: dict[str, Any]


class Recorder(TorchDispatchMode):
    """Records a model that runs inside `with torch.inference_mode(), recorder`.

    Inference mode is what lets `linear`, `matmul` or `scaled_dot_product_attention` arrive whole, with the shapes that the
    model's author wrote; below autograd they would be flattened to `addmm` already.

    A tensor is *data* if it depends on an input, a constant otherwise (parameters, buffers, and what is computed from them).

    Attributes:
        layers: the rows, in order of execution.
        refusal: why the model cannot be imported; set when such an operator is met, in case the model catches the exception.
        failed_in: the module that was running when an exception passed.
    """

    def __init__(self, origins: Iterable[tuple[torch.Tensor, Origin]], inputs: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._other: list[OtherOp] = []
        self.refusal: ImportFailed | None = None
        self.failed_in = ""
        self._running: list[tuple[str, str]] = []
        self._constants = Constants(origins)
        self._readings = Readings()
        self._notes: list[str] = []
        self._data: Any = WeakTensorKeyDictionary()
        self._written: dict[int, Any] = {}
        self._graph = GraphBuilder()
        self._made: list[Made] = []  # rows of the operator that is being recorded
        self._places: Any = WeakTensorKeyDictionary()  # of tensors in the graph
        self._places_written: dict[int, int] = {}
        self._outputs: list[int] = []
        for tensor in inputs:
            self._data[tensor] = True
            self._places[tensor] = self._graph.tensor(tensor.numel())
        self._inputs = list(range(len(self._places)))

    def network(self, name: str) -> Network:
        """What was recorded."""
        settled = self._readings.settled(self._constants.sizes, self.layers, self._other)
        recorded = Network(name, *settled, graph=self._graph.graph(self._inputs, self._outputs))
        return replace(recorded, notes=tuple(dict.fromkeys(self._notes)))

    def returned(self, result: Any) -> None:
        """Note what the model gives back: it is held to the end."""
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._outputs += [self._place(leaf)] if self._is_data(leaf) else []
            elif not isinstance(leaf, (bool, int, float, str, bytes, torch.Size, torch.dtype, torch.device, type(None))):
                self._graph.known = False  # tensors may be hidden in it

    # Names -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def names_from(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module of `model`, so that it is known which one runs; gone on leaving."""

        def entering(name: str) -> Callable[..., None]:
            return lambda module, *_: self._running.append((name, type(module).__name__))

        def leaving(name: str) -> Callable[..., None]:
            def pop(*_: Any) -> None:
                while self._running.pop()[0] != name:
                    pass  # a module inside raised and this one caught it

            return pop

        handles = []
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # its submodules run without Python's hooks
            handles.append(module.register_forward_pre_hook(entering(name), prepend=True))
            handles.append(module.register_forward_hook(leaving(name)))
        try:
            yield
        except Exception:
            self.failed_in = self._running[-1][0] if self._running else ""
            raise
        finally:
            for handle in handles:
                handle.remove()

    def _name(self, op: str, weights: torch.Tensor | None = None) -> str:
        """The running module, or the one inside it that owns the weights; at the root, the operator."""
        running = self._running[-1][0] if self._running else ""
        origins = self._constants.origins(weights) if weights is not None else ()
        owner = origins[0].name.split(".parametrizations.")[0].rpartition(".")[0] if origins else ""
        inside = owner and (not running or owner.startswith(f"{running}."))
        return (owner if inside else running) or op

    # Operators -------------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        namespace, _, op = func._schema.name.partition("::")
        op = op[:-1] if op.endswith("_") and not op.endswith("__") else op
        if namespace == "prim":  # questions about a tensor: its device, its layout
            return func(*args, **kwargs)
        if namespace == "aten" and _aten.is_recurrent(op):
            self._refuse(namespace, op)
        if op not in _ROWS and not _aten.is_leaf(namespace, op):
            with self:
                made_of = func.decompose(*args, **kwargs)
            if made_of is not NotImplemented:
                return made_of
        out = func(*args, **kwargs)
        tensors = _tensors_of((args, kwargs))
        if self._depends_on_values(func, op, tensors):
            self._notes.append(self._branch_note(namespace, op))
        data = [t for t in tensors if self._is_data(t)]
        if data and not _aten.is_factory(op):
            self._made.clear()
            self._record(_Call(func, namespace, op, _bound(func, args, kwargs)), tensors, _tensors_of(out))
            reads = [self._place(t) for t in data]
            self._mark(func, args, kwargs, out)
            self._connect(data, reads, _tensors_of(out))
        elif not data:
            self._constants.derive(func, args, kwargs, [] if _aten.is_factory(op) else tensors, _tensors_of(out))
        return out

    def _record(self, call: _Call, tensors: list[torch.Tensor], out: list[torch.Tensor]) -> None:
        namespace, op = call.namespace, call.op
        if namespace == "aten" and op in _ROWS:
            try:
                _ROWS[op](self, op, call.arguments, out)
            except InputError as error:
                if isinstance(error, ImportFailed):
                    raise
                self._refuse(namespace, op, str(error))
            return
        if _aten.hides_products(namespace, op):
            self._refuse(namespace, op)
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in call.func._schema.returns)
        if not out or is_view or op in _aten.VIEWS or op in _aten.INACTIVE:
            return
        kind = _aten.onnx_type(namespace, op, out[0].numel(), math.prod(out[0].shape[:2])) or f"{namespace}::{op}"
        if op == "clone" and not tensors[0].is_contiguous():
            kind = "Transpose"  # the copy that `contiguous` and `reshape` make of a permuted tensor
        words_in = sum(t.numel() for t in tensors if self._is_data(t))
        # The second result of a max pooling are indices that only an unpooling reads.
        words_out = out[0].numel() if kind == "MaxPool" else sum(t.numel() for t in out)
        self._readings.others += [self._constants.reading(len(self._other), t) for t in tensors if not self._is_data(t)]
        window = _aten.window(op, call.arguments)
        self._append_other(OtherOp(self._name(kind), kind, words_in, words_out, window=window))

    def _mark(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """The results are data, and so is a constant that was written into (a cache of keys and values)."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for t in _tensors_of(value):
                    if t not in self._data:
                        storage = t.untyped_storage()
                        self._written[storage._cdata] = storage  # held, so that its address is not given away again
        for t in _tensors_of(out):
            self._data[t] = True

    def _depends_on_values(self, func: Any, op: str, tensors: list[torch.Tensor]) -> bool:
        """Whether what follows may differ for other values of the input: a value is read, or sizes come from values.

        What is computed of constants alone is the same for every input. An index of whole numbers has the size of its result.
        """
        if not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.intersection(func.tags):
            return False
        decisive = [t for t in tensors if t.dtype in (torch.bool, torch.uint8)] if op.startswith("index") else tensors
        return any(self._is_data(t) for t in decisive)

    def read_outside(self, tensor: torch.Tensor, function: str) -> None:
        """Note that a model reads a tensor where no operator shows it."""
        if self._is_data(tensor):
            self._notes.append(self._branch_note("Tensor", function))

    def _branch_note(self, namespace: str, op: str) -> str:
        return (
            f"{self._running_module()} depends on values of the input ({namespace}::{op}): these are the layers and sizes for "
            "the input of this trace, zeros unless a tensor was given. Other inputs may execute others."
        )

    def _running_module(self) -> str:
        """The module that is running, for messages."""
        name, kind = self._running[-1] if self._running else ("", "model")
        return f"module {name!r} ({kind})" if name else f"the model itself ({kind})"

    def _refuse(self, namespace: str, op: str, why: str = "") -> None:
        reason = (
            why or "it holds multiply-accumulates that are no convolution of one or two axes, linear layer or matrix product"
        )
        self.refusal = ImportFailed(
            f"{self._running_module()} executes {namespace}::{op}, which hwflow cannot express: {reason}. "
            "Replace that module, or describe the network as a YAML layer list."
        )
        raise self.refusal

    # Data and constants ----------------------------------------------------------------------------------------------

    def _is_data(self, tensor: torch.Tensor) -> bool:
        if tensor in self._data:
            return True
        return bool(self._written) and tensor.untyped_storage()._cdata in self._written

    def _append(self, layer: Layer, weights: torch.Tensor | None, bias: torch.Tensor | None = None) -> None:
        """A row; what it reads of its weights and its bias is counted when all rows are known."""
        place = len(self.layers)
        if weights is not None and layer.params:
            self._readings.weights.append(self._constants.reading(place, weights)._replace(elements=layer.params))
        if bias is not None and not self._is_data(bias):
            self._readings.biases.append(self._constants.reading(place, bias))
        self.layers.append(layer)
        self._made.append(Made("layers", layer.type, layer.words("outputs")))

    def _append_other(self, op: OtherOp) -> None:
        self._other.append(op)
        self._made.append(Made("other", op.type, op.words_out))

    # Data flow -------------------------------------------------------------------------------------------------------

    def _place(self, tensor: torch.Tensor) -> int:
        """The tensor's number in the graph; views have that of what they show."""
        if tensor not in self._places:
            storage = _storage(tensor)
            if storage not in self._places_written:  # a constant that was written into
                words = tensor.untyped_storage().nbytes() // tensor.element_size() if storage else tensor.numel()
                self._places_written[storage] = self._graph.tensor(words)
            self._places[tensor] = self._places_written[storage]
        return int(self._places[tensor])

    def _connect(self, data: list[torch.Tensor], reads: list[int], out: list[torch.Tensor]) -> None:
        """Add an operator to the graph, or note that its results are views; `data` are its inputs, `reads` their places."""
        shown = {_storage(t): place for t, place in zip(data, reads, strict=True)}
        shown.pop(0, None)
        for t in out:
            storage = _storage(t)
            if storage in shown:
                self._places[t] = shown[storage]
            elif not self._made:  # a view, or what does nothing in evaluation mode
                self._places[t] = reads[0]
            elif storage not in self._written and t not in self._places:
                self._places[t] = self._graph.tensor(t.numel())
        self._graph.ran(self._made, reads, [self._place(t) for t in out])


class OutsideReads(TorchFunctionMode):
    """Sees values that a model reads past the dispatcher, as lists and NumPy's arrays."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS:
            self._recorder.read_outside(args[0], func.__name__)
        return func(*args, **(kwargs or {}))


_READS = (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__)


# Rows ----------------------------------------------------------------------------------------------------------------


def _convolution(to: Recorder, op: str, b: dict[str, Any], out: list[torch.Tensor]) -> None:
    weights = b["weight"]
    if to._is_data(weights):
        to._refuse("aten", op, "its weights are computed from the input")
    name = to._name("conv_transpose" if b["transposed"] else "conv", weights)
    axes = weights.dim() - 2
    layer = convolution(
        name,
        b["input"].shape,
        out[0].shape,
        weights.shape,
        strides=_per_axis(b["stride"], axes),
        dilations=_per_axis(b["dilation"], axes),
        groups=b["groups"],
        transposed=b["transposed"],
    )
    to._append(layer, weights, b["bias"])


def _linear(to: Recorder, op: str, b: dict[str, Any], out: list[torch.Tensor]) -> None:
    _append_product(to, b["input"], b["weight"], tuple(b["weight"].shape)[::-1], bias=b["bias"])


def _product(to: Recorder, op: str, b: dict[str, Any], out: list[torch.Tensor]) -> None:
    left, right = list(b.values())[:2]
    _append_product(to, left, right, right.shape)


def _product_plus(to: Recorder, op: str, b: dict[str, Any], out: list[torch.Tensor]) -> None:
    """`addmm` and its like: an addend, then the two factors."""
    addend, left, right = list(b.values())[:3]
    if op == "addbmm":  # the sum over the batch is one longer inner axis
        batch, rows, inner = left.shape
        shape = (batch * inner, right.shape[-1])
        left_fixed, right_fixed = not to._is_data(left), not to._is_data(right)
        layer = product(to._name("matmul", right), (rows, batch * inner), shape, left_fixed=left_fixed, right_fixed=right_fixed)
        to._append(layer, right if right_fixed else left, addend)
    else:
        _append_product(to, left, right, right.shape, bias=addend)
    if to._is_data(addend):
        to._append_other(OtherOp(to._name("Add"), "Add", addend.numel() + out[0].numel(), out[0].numel()))


def _attention(to: Recorder, op: str, b: dict[str, Any], out: list[torch.Tensor]) -> None:
    """Scaled dot-product attention: scores = query key^T, softmax, scores value; grouped queries share keys and values."""
    q, k, v = (tuple(b[which].shape) for which in ("query", "key", "value"))
    shared = q[-3] // k[-3] if len(q) > 2 and len(k) > 2 and b.get("enable_gqa") else 1
    rows, folded = q[-2], q
    if shared > 1:
        folded = (*q[:-3], k[-3], shared * rows, q[-1])
    scores = (*folded[:-1], k[-2])
    name = to._name("attention")
    to._append(product(name, folded, (*k[:-2], k[-1], k[-2]), left_fixed=False, right_fixed=False), None)
    to._append_other(OtherOp(name, "Softmax", math.prod(scores), math.prod(scores)))
    to._append(product(name, scores, v, left_fixed=False, right_fixed=False), None)


def _append_product(to: Recorder, left: Any, right: Any, columns: Sequence[int], *, bias: torch.Tensor | None = None) -> None:
    left_fixed, right_fixed = not to._is_data(left), not to._is_data(right)
    weights = right if right_fixed else left if left_fixed else None
    name = to._name("linear" if weights is not None else "matmul", weights)
    layer = product(name, tuple(left.shape), tuple(columns), left_fixed=left_fixed, right_fixed=right_fixed)
    to._append(layer, weights, bias)


_ROWS: dict[str, Callable[[Recorder, str, dict[str, Any], list[torch.Tensor]], None]] = {
    "convolution": _convolution,
    "_convolution": _convolution,  # what traced modules call
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _product),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), _product_plus),
    "scaled_dot_product_attention": _attention,
}


def _bound(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by the names of the operator's schema, defaults filled in."""
    bound = {}
    for position, argument in enumerate(func._schema.arguments):
        given = args[position] if position < len(args) else kwargs.get(argument.name, argument.default_value)
        bound[argument.name] = given
    return bound


def _storage(tensor: torch.Tensor) -> int:
    """Where a tensor's elements lie, as long as it lives; 0 where it has no storage of its own (sparse tensors)."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return 0


def _tensors_of(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _per_axis(values: Sequence[int], axes: int) -> list[int]:
    return list(values) if len(values) == axes else [values[0]] * axes
