"""`FlightNN`: weights are sums of powers of two, of which each filter has as many as it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hwflow.compression.budget import amount_of
from hwflow.compression.method import Task, running
from hwflow.compression.quantization.flexible_powers import TERMS, FewerTerms, FlexibleTerms
from hwflow.compression.quantization.quantized import Format, Quantization, Rows
from hwflow.compression.quantization.quantized_layers import Code, WeightCode
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.training.hooks import TrainingHook

_ONE, _TWO = Code("powers", 1), Code("powers", TERMS)


class FlightNN(Quantization):
    """At most `mean_k` powers of two a filter on average, and fewer where the budgets need it.

    The first and the last layer are those of `Quantization`.

    On PEs that shift once a cycle a filter runs in as many passes as it has powers. Elsewhere all filters of a layer have the
    word of its widest one, so it saves only in layers whose filters have one power each.
    """

    name = "flightnn"

    def __init__(self) -> None:
        self._format = Format(
            _TWO,
            "weights are sums of powers of two, as many as each filter needs",
            "Ding et al., DAC 2019, arXiv:1904.02835",
            "shifts (--pe-type lightpe1)",
        )
        self.about, self.source, self.needs = self._format.about, self._format.source, self._format.needs

    def prepare(self, task: Task) -> None:
        """Refuse what `Quantization` refuses, and rounding without training."""
        if task.settings.quantization.post_training:
            raise InputError(
                f"post_training is True, but {self.name} trains how many powers of two a filter has; leave it out, or take the "
                "method lightnn1 or lightnn2."
            )
        super().prepare(task)

    def rows(self, task: Task, network: Network, *, least: bool = False) -> Rows:
        """With `mean_k` powers a filter in every layer."""
        mean = 1.0 if least else task.settings.quantization.mean_k
        codes = self._codes(task, network)
        names = self._flexible(codes)
        terms = {la.name: round(mean * la.M * la.G) for la in network.layers if la.name in names}
        return self._rows(task, network, codes, terms)

    def _flexible(self, codes: Mapping[str, Code]) -> list[str]:
        names = list(codes)
        return [name for name in names if name not in (names[0], names[-1])]

    def _rows(self, task: Task, network: Network, codes: Mapping[str, Code], terms: Mapping[str, int]) -> Rows:
        single = {la.name for la in network.layers if la.name in terms and terms[la.name] <= la.M * la.G}
        return super()._rows(task, network, {n: _ONE if n in single else code for n, code in codes.items()}, terms)

    def _trained_codes(self, model: nn.Module, codes: Mapping[str, Code]) -> dict[str, WeightCode]:
        return {name: FlexibleTerms(len(model.get_submodule(name).weight)) for name in self._flexible(codes)}

    def _hooks(self, task: Task, model: nn.Module, network: Network, codes: Mapping[str, Code]) -> list[TrainingHook]:
        names = self._flexible(codes)
        if not names:
            return []
        level = task.settings.levels[-1]
        before = task.costs.at(network, level).to_dict()["totals"]

        def fits(terms: Mapping[str, Tensor]) -> bool:
            sums = {name: int(k.sum()) for name, k in terms.items()}
            run = running(network, *self._rows(task, network, codes, sums))
            after = task.costs.at(run, level).to_dict()["totals"]
            return all(b.held(*(amount_of(totals, b.metric) for totals in (before, after))) for b in task.budgets)

        return [FewerTerms(names, task.settings.quantization.mean_k, fits)]

    def _terms(self, hooks: Sequence[TrainingHook]) -> dict[str, int]:
        return {n: int(k.sum()) for hook in hooks if isinstance(hook, FewerTerms) for n, k in hook.terms.items()}

    def _told(self, task: Task, model: nn.Module, hooks: Sequence[TrainingHook]) -> dict[str, str]:
        found = {n: k for hook in hooks if isinstance(hook, FewerTerms) for n, k in hook.terms.items()}
        filters = sum(map(len, found.values()))
        if not filters:
            return {}
        mean = sum(int(k.sum()) for k in found.values()) / filters
        each = [
            f"{name} {', '.join(f'{int((k == n).sum())} of {n}' for n in range(TERMS + 1) if bool((k == n).any()))}"
            for name, k in found.items()
        ]
        return {
            "powers of two a filter": f"{mean:.3g} on average, at most {task.settings.quantization.mean_k:g} were asked for",
            "filters by powers of two": f"{'; '.join(each)}. codes.json has those of each filter.",
        }

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """At the width of each layer's widest filter: a sweep's chips may compute anything, so passes are left out."""
        names = list(plan)
        filters = {la.name: la.M * la.G for la in network.layers}
        bits = {
            n: plan[n] if n in (names[0], names[-1]) else (_ONE if plan[n] <= filters.get(n, 0) else _TWO).bits for n in names
        }
        return super().costed(network, bits)


__all__ = ["FlightNN"]
