"""Which images a network has not seen, where its user says so: a share of a part of the data set, or another data set."""

from __future__ import annotations

import math
from dataclasses import replace

from hwflow.datasets import load_data
from hwflow.datasets.data import Data
from hwflow.datasets.samples import Samples
from hwflow.datasets.split import stratified
from hwflow.errors import InputError


def with_holdout(data: Data, spec: str | Samples) -> Data:
    """The same data set, whose `hold_out` gives the named images instead of a tenth of the training part.

    Args:
        spec: `train:0.1`, a share of the training part, every class alike, which the network must not have been trained on;
            `test:0.3`, a share of the test part, which final scores are then not taken on; otherwise a data set as `load_data`
            takes it, whose test part is used; or samples of one's own.

    Raises:
        InputError: for a share that is no number between 0 and 1 or leaves a part empty, and images or classes that do not fit.
    """
    if isinstance(spec, Samples):
        return _named(data, spec, "the samples")
    part, colon, text = spec.partition(":")
    if part not in ("train", "test") or not colon:
        other = load_data(spec)
        wanted, offered = ((d.task, d.input_shape, d.classes) for d in (data, other))
        if wanted != offered:
            raise InputError(
                f"--holdout {spec} holds {_shown(other)}; {data.name} has {_shown(data)}. Name images of the same kind."
            )
        return _named(data, other.test, spec)
    whole = data.train if part == "train" else data.test
    count = _share(spec, text, len(whole))
    labels = whole.indices * 0 if whole.labels is None else whole.labels
    held, rest = stratified(labels, count, seed=0)
    left, found = whole.subset(rest), whole.subset(held)
    return replace(data, held=found, train=left) if part == "train" else replace(data, held=found, test=left)


def _named(data: Data, held: Samples, name: str) -> Data:
    if not len(held):
        raise InputError(f"{name} given as holdout is empty; it must hold images that the network has not seen.")
    if held.source.classes != data.classes:
        raise InputError(f"{name} given as holdout has {held.source.classes} classes; {data.name} has {data.classes}.")
    return replace(data, held=held)


def _share(spec: str, text: str, total: int) -> int:
    """Images that a share is."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    count = 0 if math.isnan(share) or not 0 < share < 1 else round(share * total)
    if not 0 < count < total:
        raise InputError(
            f"--holdout {spec} holds out no part of {total:,} images: write train:SHARE or test:SHARE with a share between 0 "
            "and 1, such as train:0.1, or name a data set."
        )
    return count


def _shown(data: Data) -> str:
    shape = " x ".join(map(str, data.input_shape))
    return f"images of {shape} in {data.classes} classes ({data.task})"


__all__ = ["with_holdout"]
