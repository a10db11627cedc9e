"""`add_curves`: networks that were not made by a contest's methods, beside these in its report.

Levels, members of a library, or the network of another run are judged on the contest's test samples, and costed as its networks
are: at its level, with its settings, as shares of the same unpruned network's costs. Their folders' own figures are not used:
mappings for another objective, or clocks of other operating points, would not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hwflow.compression.contest.contest import cost_shares
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.folder import read_json, write_json
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.result import load_compressed
from hwflow.compression.settings import Settings
from hwflow.cost.inputs import accelerator_of
from hwflow.datasets import Data
from hwflow.dynamic.kept_networks import is_library, networks_in
from hwflow.dynamic.level_folder import CONFIG, LEVELS
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.reporting import write_report
from hwflow.reporting.compression.contest_records import CURVES, is_contest
from hwflow.store import Store
from hwflow.training.score import score

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike

Notify = Callable[[str], None]


def add_curves(
    contest: str | Path,
    folders: Sequence[str | Path],
    whole: nn.Module,
    data: Data,
    accelerator: AcceleratorLike | None,
    settings: Settings,
    *,
    models: Mapping[str, nn.Module] | None = None,
    allow_import: Sequence[str] = (),
    store: Store | bool = True,
    progress: Progress | None = None,
    notify: Notify = lambda _: None,
) -> None:
    """Judge and cost the networks of some folders, keep them in the contest's `curves.json`, and write its report anew.

    Args:
        contest: its folder.
        folders: what `hwflow levels`, `library`, `search`, `prune` or `compress` wrote. A curve is called like its folder.
        whole: the contest's unpruned network; its weights do not matter.
        data, accelerator, settings: of the contest. Where its budgets are of several metrics, mappings minimise what they do
            at the settings' budgets.
        models: by the folder's name, where a run was given a module of one's own: that network; its weights do not matter.
        allow_import: modules of which the folders may name a callable, to be imported and called.

    Raises:
        InputError: where a folder holds no such networks, or networks for other images or classes; where two are called alike.
    """
    place = Path(contest)
    if not is_contest(place):
        raise InputError(f"{place} holds no contest; 'hwflow compress' with several methods makes one.")
    named = check_folders(folders, data, notify)
    chip = None if accelerator is None else accelerator_of(accelerator)
    costs = LevelCosts(chip, settings, store=store, notify=notify, progress=None)
    recipe = settings.tuning or default_tuning(data, whole)
    shape, level = (1, *data.input_shape), settings.levels[-1]

    def totals(network: nn.Module) -> dict[str, dict[str, Any]]:
        return {level: costs.at(Network.from_torch(network, shape), level).to_dict()["totals"]}

    before = totals(whole)
    curves = []
    for done, (name, folder) in enumerate(named.items()):
        if progress is not None:
            progress(done, len(named), f"judging the networks of {name}")
        networks = [
            {
                "name": label,
                "accuracy": score(network, data.test, device=recipe.device, precision=recipe.precision).accuracy,
                "shares": cost_shares(before, totals(network)),
            }
            for label, network in _networks(folder, (models or {}).get(name), allow_import)
        ]
        curves.append({"name": name, "data": _read(folder).get("data", ""), "networks": networks})
    write_json(place / CURVES, curves)
    write_report(place)


def _networks(folder: Path, model: nn.Module | None, allow_import: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    if not (folder / LEVELS).exists() and not is_library(folder):
        yield "network", load_compressed(folder, model, allow_import=allow_import)
        return
    kind = "member" if is_library(folder) else "level"
    for number, network in networks_in(folder, model, allow_import=allow_import).items():
        yield f"{kind} {number}", network


def check_folders(folders: Sequence[str | Path], data: Data, notify: Notify = lambda _: None) -> dict[str, Path]:
    """The folders by the names of their curves, each looked at before a contest that takes hours.

    Raises:
        InputError: as `add_curves`.
    """
    named = {Path(folder).resolve().name: Path(folder) for folder in folders}
    if len(named) < len(folders):
        raise InputError(f"curves are called like their folders, and two of {', '.join(map(str, folders))} have the same name.")
    for folder in named.values():
        _check(folder, data, notify)
    return named


def _check(folder: Path, data: Data, notify: Notify) -> None:
    """Refuse networks for other images, and tell of those that learned from other ones."""
    config = _read(folder)
    for what, own, wanted in (
        ("classes", config.get("classes"), data.classes),
        ("images of shape", config.get("input_shape"), list(data.input_shape)),
    ):
        if own != wanted:
            raise InputError(f"the networks of {folder} are for {what} {own}, and the contest's for {wanted}.")
    if config.get("data_identity") != data.identity:
        own = config.get("data")
        notify(f"the networks of {folder} learned from other samples, {own}, than those of the contest, {data.name}.")


def _read(folder: Path) -> Mapping[str, Any]:
    if not (folder / CONFIG).exists():
        raise InputError(
            f"{folder} holds no networks: it is not what 'hwflow levels', 'library', 'search', 'prune' or 'compress' wrote."
        )
    found: Mapping[str, Any] = read_json(folder / CONFIG)
    return found


__all__ = ["add_curves"]
