"""`Policy`: an agent that was trained once and is kept, with where it comes from.

A file of tensors and plain data, which reading does not execute. `hwflow train-policy` writes it, `hwflow prune --policy` uses
it, and `hwflow show` prints its provenance. One is shipped with hwflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwflow.compression.search.ddpg import Agent, Hyperparameters
from hwflow.compression.search.group_features import VERSION
from hwflow.errors import InputError
from hwflow.files import parse_json
from hwflow.training import checkpoint as files

FORMAT = 1
"""Of the file."""

SHIPPED = "shipped"
"""The name of the policy that comes with hwflow."""

FILE = "policy.pt"
"""What the file is called in a folder of `hwflow train-policy`."""

_KIND = "hwflow policy"
SHIPPED_FILE = Path(__file__).with_name("shipped_policy.pt")
"""Where it lies."""
_Networks = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Policy:
    """Actor and critic of a DDPG agent that sees `GroupFeatures`.

    Attributes:
        networks: the weights of `actor` and `critic`.
        mean, scale: of the features in the problems that it was trained on, [feature]; features are seen relative to them.
        hidden: neurons in a hidden layer.
        about: its provenance: command, date, versions, data, networks, chips, budgets and what training measured.
        name: what it is called in reports: `shipped`, or its file.
    """

    networks: _Networks
    mean: Tensor
    scale: Tensor
    hidden: int
    about: Mapping[str, Any]
    name: str = ""

    @property
    def features(self) -> int:
        """Numbers in an observation."""
        return len(self.mean)

    @cached_property
    def digest(self) -> str:
        """A hash of its weights, by which runs know it."""
        found = hashlib.sha256()
        values = [self.networks[part][name] for part in sorted(self.networks) for name in sorted(self.networks[part])]
        for value in (self.mean, self.scale, *values):
            found.update(value.detach().contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def record(self) -> dict[str, Any]:
        """What a run's files say of it: its name, the hash of its weights and its provenance."""
        return {"name": self.name, "digest": self.digest, "about": dict(self.about)}

    @property
    def told(self) -> str:
        """Its name and what it was trained on, for a sentence."""
        about = self.about
        sides = [(len(about.get(side, ())), one) for side, one in (("networks", "network"), ("accelerators", "accelerator"))]
        counts = " and ".join(f"{count} {one}{'' if count == 1 else 's'}" for count, one in sides)
        begun = f" on {about['begun']}" if about.get("begun") else ""
        return f"the policy {self.name} ({self.digest[:8]}), trained{begun} on {counts}"

    def agent(self, settings: Hyperparameters, seed: int) -> Agent:
        """An agent that starts from this policy.

        Args:
            settings: of its further learning; the size of its networks is the policy's.
        """
        agent = Agent(self.features, settings, seed=seed)
        agent.start_from(self.networks)
        return agent

    def save(self, path: Path) -> None:
        """Write the file; equal policies give equal bytes.

        Raises:
            HwflowError: where it cannot be written.
        """
        content = {"kind": _KIND, "format": FORMAT, "features": VERSION, "hidden": self.hidden, "about": json.dumps(self.about)}
        files.save(path, content | {"mean": self.mean, "scale": self.scale, **self.networks})

    @classmethod
    def load(cls, source: str | Path) -> Policy:
        """A policy by its file, by the folder that `hwflow train-policy` wrote, or `shipped`.

        Raises:
            InputError: where there is none, the file is damaged or something else, or was written for another format or other
                features.
        """
        name = str(source)
        path = SHIPPED_FILE if name == SHIPPED else Path(source)
        path = path / FILE if path.is_dir() else path
        content = files.read(path, "the policy")
        if content.get("kind") != _KIND:
            raise InputError(f"the policy {path} holds something else than a policy; give a file of 'hwflow train-policy'.")
        for what, found, wanted in (("format", content.get("format"), FORMAT), ("features", content.get("features"), VERSION)):
            if found != wanted:
                raise InputError(
                    f"the policy {path} has the {what} {found!r}, and this version of hwflow reads {wanted!r}: train it anew "
                    f"with 'hwflow train-policy', or use --policy {SHIPPED}."
                )
        try:
            policy = cls(
                {part: dict(content[part]) for part in ("actor", "critic")},
                content["mean"],
                content["scale"],
                int(content["hidden"]),
                parse_json(content["about"]),
                name,
            )
            Agent(policy.features, Hyperparameters(hidden=policy.hidden)).start_from(policy.networks)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f"the policy {path} is damaged: {_first_line(error)}. Train it anew, or take another.") from None
        values = [policy.mean, policy.scale, *(v for part in policy.networks.values() for v in part.values())]
        if not all(bool(torch.isfinite(value).all()) for value in values):
            raise InputError(f"the policy {path} is damaged: some of its numbers are not finite. Train it anew.")
        return policy


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".:") or type(error).__name__


__all__ = ["FILE", "FORMAT", "SHIPPED", "SHIPPED_FILE", "Policy"]
