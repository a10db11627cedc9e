"""`MixedPrecision`: bits of each layer's weights and activations, which a search chooses within the budgets, or with channels.

Costs of plans are exact, with each row at its own word widths. What bits take off the accuracy is measured once, one decision
at a time, by rounding the network as it was trained; searchers that plan begin with that, and all of them measure plans on
networks that are cut and rounded. The chosen network is then fine-tuned with rounded operands (straight-through estimator).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import nn

from hwflow.compression.channels.discovery import rebuild
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.channels.pruning import ChannelPruning, grouping_of, held_parts, outcomes, tell_of_training
from hwflow.compression.folder import PLAN
from hwflow.compression.method import Compressed, Task
from hwflow.compression.plan_files import plan_data
from hwflow.compression.quantization.bit_decisions import CODED, bit_decisions
from hwflow.compression.quantization.integers import Scale
from hwflow.compression.quantization.mixed_accuracy import MixedProxy, quantize_all, sensitivities
from hwflow.compression.quantization.mixed_decisions import MixedGrouping
from hwflow.compression.quantization.quantized_layers import input_scales, quantize, store_codes
from hwflow.compression.search.comparison import Splits
from hwflow.compression.search.registry import SCORED
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.from_torch import trace
from hwflow.training.score import modes_kept, placed

SENSITIVITIES = "sensitivities.json"
_BATCHES, _BATCH = 4, 128


class MixedPrecision(ChannelPruning):
    """`bits`: all channels stay; `mixed`: channels of groups are decided, too.

    Values of 8 bits and fewer are rounded to codes; at the chip's own width, where it is wider, a layer computes as it was
    trained. Normalisation stays apart, in floating point.
    """

    refits = False
    follows_allocation = False
    source = "bits per layer after HAQ, Wang et al., CVPR 2019, arXiv:1811.08886"
    needs = "operands of the widths that are chosen"

    def __init__(self, name: str) -> None:
        self.name = name
        what = "bits of each layer" if name == "bits" else "bits of each layer and the channels of each group"
        self.about = f"searches {what}, within the budgets"

    def prepare(self, task: Task) -> None:
        """Find what is decided, and refuse budgets that no plan reaches, bits that the chip cannot take and plans of others."""
        asked = task.settings
        if asked.searcher in SCORED:
            raise InputError(
                f"the search {asked.searcher} ranks channels by their scores, and bits have none; use another one, such as "
                "exact or agent."
            )
        if self.name == "bits":
            network = Network.from_torch(task.model, task.input_shape, name=task.name)
            self._grouping = Grouping(network, (), (), (), {})
        else:
            self._grouping = grouping_of(task)
        bits = bit_decisions(
            task.model, self._grouping.network, task.costs.accelerator, sorted(asked.word_bits), asked.edge_bits
        )
        self._sizing = self._mixed = MixedGrouping(self._grouping, bits)
        self._tables = PlanTables(self._mixed, task.costs, word_widths=bits.word_widths, activations=self._mixed.memory)
        self._given = self._given_plan(task)

    def compress(self, task: Task) -> Compressed:
        """The network cut and rounded to the plan, fine-tuned."""
        mixed = self._mixed
        fit_on, _ = task.data.hold_out()
        scales = self._scales(task, task.model)
        measured, chosen, reported = (
            MixedProxy(
                task.model,
                self._grouping,
                fit_on,
                part,
                task.settings.proxy,
                task.recipe,
                task.data.task,
                task.store,
                task.settings.criterion,
                mixed=mixed,
                scales=scales,
            )
            for part in held_parts(task)
        )
        splits = Splits(measured, chosen, reported)
        comparison, evaluated = None, 0
        plan = self._given
        if plan is None:
            tell_of_training(task)
            known = sensitivities(mixed, measured, lambda done, of: task.tell("sensitivity of single layers", done, of))
            task.folder.write(SENSITIVITIES, asdict(known))
            evaluated = known.measured
            scores = self._scores(task) if self._grouping.groups else {}
            comparison = self._search(task, splits, losses=known.losses(mixed, scores))
            plan = comparison.plan
        decisions = mixed.bits.decisions
        written = plan_data(mixed.network, self._grouping, decisions, plan)
        task.folder.write(PLAN, written)  # before the fine-tuning, which can take hours
        small = measured.cut(plan)
        if self._grouping.groups:
            measured.reestimate(small)
        quantize_all(small, mixed, plan, self._scales(task, small))
        tuning = task.fine_tune(small)
        store_codes(small)
        return Compressed(
            model=small,
            plan=plan,
            decisions=decisions,
            grouping=self._grouping if self._grouping.groups else None,
            tuning=tuning,
            bits=mixed.row_bits(plan),
            comparison=comparison,
            seconds={f"tables at {level}": seconds for level, seconds in self._tables.seconds.items()},
            summary={"first and last layer": f"{task.settings.edge_bits} bits at least"} | outcomes(task, comparison),
            evaluated=evaluated,
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan, with modules that round their inputs; weights are loaded as stored."""
        network = trace(model, input_shape)
        bits = bit_decisions(model, network, None, (CODED,), CODED)
        names = {one.name for one in bits.decisions}
        channels = {name: kept for name, kept in plan.items() if name not in names}
        small = rebuild(model, input_shape, channels) if channels else model
        chosen = [plan.get(one.name, one.channels) for one in bits.decisions]
        for name, (code, input_bits) in bits.codes(chosen).items():
            if code is not None or input_bits is not None:
                quantize(small, name, None, input_bits=input_bits)
        return small

    def _scales(self, task: Task, model: nn.Module) -> dict[str, Scale]:
        """Of the inputs of all modules that can be rounded, on training samples."""
        fit_on, recipe = task.data.hold_out()[0], task.recipe
        with placed(model, recipe.device), modes_kept(model):
            return input_scales(
                model,
                list(self._mixed.bits.weights),
                fit_on,
                batches=_BATCHES,
                batch_size=min(_BATCH, len(fit_on)),
                seed=task.seed,
                device=recipe.device,
            )
