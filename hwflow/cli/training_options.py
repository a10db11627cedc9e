"""Options that several of the commands share that train a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwflow.metrics import MAPPED

ModuleArgument = Annotated[
    str, typer.Argument(metavar="NETWORK", help="A zoo name or package.module:callable.", show_default=False)
]
FolderOption = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder of results.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")]
ChipOption = Annotated[
    str | None,
    typer.Option("--accelerator", "-a", metavar="ACC", help="A preset or a YAML file; coarse alone needs none."),
]
MappingsOption = Annotated[
    str | None,
    typer.Option("--objective", metavar="|".join(MAPPED), help="What mappings minimise; by default the metric of the budget."),
]
RoundToOption = Annotated[int, typer.Option("--round-to", metavar="N", help="Channels kept are multiples of N.")]
FloorOption = Annotated[float, typer.Option("--floor", metavar="SHARE", help="The least share of channels kept.")]
StreamsOption = Annotated[bool, typer.Option("--streams", help="Also prune the channels of residual streams.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of all random numbers.")]
ExecutionOption = Annotated[
    str,
    typer.Option(
        "--execution",
        metavar="NAME",
        help="How layers run on the accelerator: direct, winograd2, winograd4, im2col, or auto, the cheapest of these.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights from 'hwflow train'; without them, the network is trained first."),
]
EpisodesOption = Annotated[
    int | None, typer.Option("--episodes", metavar="N", help="Plans that each search tries; by default 300.")
]
ExcludeOption = Annotated[
    str | None, typer.Option("--exclude", metavar="MODULE,...", help="Modules whose outputs are not pruned.")
]
CostLevelOption = Annotated[str, typer.Option("--level", metavar="coarse|mid|fine", help="At which accelerators are costed.")]
LearningRateOption = Annotated[float | None, typer.Option("--learning-rate", metavar="LR", help="The highest learning rate.")]
