"""Measured latency of a network's levels on this machine's CPU, by PyTorch, and by onnxruntime where it is installed.

One frame at a time. Levels are measured in turns, so that what else the machine does in the meantime strikes all of them; of
each the median and the quartiles count, which single interruptions do not change. On a machine that is busy throughout, these
tell how busy it is, and the least comes nearest to what the level takes by itself.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles

import torch
from torch import nn

from hwflow.compression.fine_tuning import export_onnx
from hwflow.dynamic.level_table import LevelTable, Row
from hwflow.errors import HwflowError, check_whole
from hwflow.optional import needed
from hwflow.progress import Progress
from hwflow.training.threads import limited, usable_cores

FRAMES, WARM = 60, 5


@dataclass(frozen=True)
class Timing:
    """Latency of one frame in seconds.

    Attributes:
        frames: how many were timed, after some that were not.
        load: processes that ran or waited on the machine, over the minute before the end; None where it does not tell.
        least_s: of the fastest frame.
    """

    median_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    frames: int
    threads: int
    load: float | None
    least_s: float


def runtimes() -> tuple[str, ...]:
    """What can be measured with here: torch, and onnxruntime where it is installed."""
    return ("torch", "onnxruntime") if importlib.util.find_spec("onnxruntime") else ("torch",)


def time_in_turns(
    networks: Mapping[int, nn.Module],
    input_shape: tuple[int, int, int],
    threads: int,
    *,
    frames: int = FRAMES,
    runtime: str = "torch",
) -> dict[int, Timing]:
    """The latency of each of some networks at batch 1.

    Args:
        input_shape: (C, H, W).
        threads: that are computed with.
        frames: that are timed of each; at least 2.
        runtime: one of `runtimes()`.

    Raises:
        HwflowError: where a network cannot be exported for onnxruntime.
    """
    check_whole("frames", frames, 10**7, 2)
    image = torch.randn(1, *input_shape, generator=torch.Generator().manual_seed(0))
    make = _in_onnxruntime if runtime == "onnxruntime" else _in_torch
    runs = {key: make(network, image, threads) for key, network in networks.items()}
    taken: dict[int, list[float]] = {key: [] for key in networks}
    with limited(threads), torch.inference_mode():
        for turn in range(WARM + frames):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                stop = time.perf_counter()
                if turn >= WARM:
                    taken[key].append(stop - start)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = {}
    for key, seconds in taken.items():
        lower, median, upper = quantiles(seconds, n=4, method="inclusive")
        found[key] = Timing(median, lower, upper, frames, threads, load, min(seconds))
    return found


def _in_torch(network: nn.Module, image: torch.Tensor, threads: int) -> Callable[[], object]:
    return partial(network.eval(), image)


def _in_onnxruntime(network: nn.Module, image: torch.Tensor, threads: int) -> Callable[[], object]:
    runtime = needed("onnxruntime", "measuring with onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    with tempfile.TemporaryDirectory(prefix="hwflow-") as place:
        file = Path(place) / "network.onnx"
        export_onnx(network, tuple(image.shape[1:]), file)
        session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    run: Callable[[], object] = partial(session.run, None, {session.get_inputs()[0].name: image.numpy()})
    return run


def measured_rows(
    name: str,
    networks: Mapping[int, nn.Module],
    known: Mapping[int, tuple[float, int]],
    input_shape: tuple[int, int, int],
    threads: Sequence[int],
    *,
    notify: Callable[[str], None],
    progress: Progress | None = None,
) -> LevelTable:
    """A table of measured rows: the CPU with each number of threads and each runtime is a unit of its own, and energy is not
    known.

    Args:
        networks: by level.
        known: of each level its accuracy and the bytes of its weights.
        notify: told why a runtime is left out, and of more threads than this process has cores.
    """
    cores = usable_cores()
    for count in threads:
        if count > cores:
            notify(
                f"{unit_name(count)}: this process may use {cores} {'core' if cores == 1 else 'cores'} only, so threads take "
                "turns, and the latency is not that of a processor with so many cores."
            )
    rows, timings = [], {}
    asked = [(runtime, count) for runtime in runtimes() for count in threads]
    for done, (runtime, count) in enumerate(asked):
        unit = unit_name(count, runtime)
        if progress is not None:
            progress(done, len(asked), unit)
        try:
            found = time_in_turns(networks, input_shape, count, runtime=runtime)
        except HwflowError as error:
            notify(f"{unit} was not measured: {error}")
            continue
        timings[unit] = {str(level): asdict(timing) for level, timing in found.items()}
        for level, timing in found.items():
            accuracy, memory = known[level]
            rows.append(Row(name, level, unit, 0.0, None, accuracy, timing.median_s, None, memory))
    about = {"accuracy": "held-out samples", "machine": machine(), "torch": torch.__version__, "timings": timings}
    if "onnxruntime" in runtimes():
        about["onnxruntime"] = needed("onnxruntime", "measuring with onnxruntime").__version__
    return LevelTable(name, "measured", tuple(rows), about)


def unit_name(threads: int, runtime: str = "torch") -> str:
    """What this machine's CPU is called in tables: `cpu-2-threads`, `cpu-1-thread-onnxruntime`."""
    name = f"cpu-{threads}-{'thread' if threads == 1 else 'threads'}"
    return name if runtime == "torch" else f"{name}-{runtime}"


def check_threads(counts: Sequence[int]) -> None:
    """Refuse numbers of threads that cannot be measured with.

    Raises:
        InputError: naming one.
    """
    for count in counts:
        check_whole("threads of a measurement", count, 1024)


def machine() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


__all__ = ["FRAMES", "Timing", "check_threads", "machine", "measured_rows", "runtimes", "time_in_turns", "unit_name"]
