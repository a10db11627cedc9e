"""`Settings`: the options of a compression run, besides the network, the data and the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import METRICS, Budget, check_budgets, objective_of, parse_budgets
from hwflow.compression.channels.criteria import criterion_named
from hwflow.compression.channels.gradual_options import GradualSettings
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.registry import searcher_named
from hwflow.compression.single_path.options import SinglePathSettings
from hwflow.compression.winograd.winograd_options import WinogradSettings
from hwflow.cost.backend import backend_of, check_used, used_at
from hwflow.cost.executed_network import checked
from hwflow.cost.options import CostOptions
from hwflow.errors import MOST_EFFORT, MOST_JOBS, InputError, check_whole, not_found
from hwflow.layers import DIRECT
from hwflow.training.recipe import Recipe
from hwflow.types import Activations, Latency, LevelName, Mapper, Objective, Operators

Reconstruct = Literal["none", "plan", "search"]
Baselines = Literal["none", "quick", "all"]

_SINCE_0_1 = (
    *("method", "searcher", "criterion", "begun_with", "reconstruct", "baselines", "allocate"),
    *("word_bits", "edge_bits", "ppa_model", "extrapolate", "execution", "activations", "operators", "policy"),
    "latency",
)
"""Fields that are left out where they are the default, as in folders of version 0.1, which can be continued."""

_RULES = {"activations": get_args(Activations), "operators": get_args(Operators), "latency": get_args(Latency)}
"""What costs are of beside the layers by way of DRAM, with what each can be, the usual first."""
_APART = ("decide", "samples")  # what `changed` takes beside fields
_LEAST_BITS, _MOST_BITS = 2, 8  # of codes
_MOST = 10**6  # plans kept and episodes: a search of a thousand of them takes minutes


@dataclass(frozen=True)
class Settings:
    """The options of a compression run; see each field.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    levels: tuple[LevelName, ...] = ("mid",)
    """The search's level, then those at which the best plans are cut to the budget and ranked again. The budget holds at the
    last one, which is taken to be the truest; a plan that is cut there can exceed it at those before."""
    keep: int = 8
    """The best plans of all searches and baselines that are taken to each next level, and of which the one that is applied is
    chosen on samples that no search saw."""
    budgets: tuple[Budget, ...] = (Budget("energy", 0.5),)
    """What no plan exceeds; none for AMC's soft budget, which weighs `metric`."""
    metric: str = "energy"
    """What the reward weighs where there is no budget."""
    objective: Objective | None = None
    """What mappings minimise; by default the budgets' metric where there is one, else EDP."""
    dataflow: str | None = None
    """A name or a file; by default the accelerator's own."""
    energy: str = "auto"
    """Where energies come from, as in `hwflow.estimate`."""
    mapper: Mapper = "hwflow"
    """At fine, whose mapping Timeloop judges."""
    engine: str | None = None
    """At fine, where Timeloop runs."""
    effort: int = 1
    """A factor on how long mappings are searched."""
    jobs: int = 1
    """Layers that are costed at once."""
    episodes: int = 300
    """Plans that a search tries, for each seed."""
    seeds: tuple[int, ...] = (0,)
    """Of the searches; the best plan of all seeds is applied."""
    round_to: int = 8
    """Channels kept are multiples of it, or all."""
    floor_ratio: float = 0.1
    """The least share of a group's channels that is kept."""
    streams: bool = False
    """Whether the channels of residual streams are pruned, too."""
    exclude: tuple[str, ...] = ()
    """Modules whose outputs are not pruned."""
    method: str = "channels"
    """How the network is compressed, a name of `hwflow.compression.registry.METHODS`."""
    searcher: str = "ddpg"
    """What proposes plans, a name of `hwflow.compression.search.registry.SEARCHERS`; `agent` is the same as `ddpg`."""
    agent: Hyperparameters = field(default_factory=Hyperparameters)
    """The agent's own settings; its warm-up is cut to a third of the episodes."""
    proxy: ProxySettings = field(default_factory=ProxySettings)
    """How plans are judged."""
    tuning: Recipe | None = None
    """Of the fine-tuning; by default `hwflow.compression.fine_tuning.default_tuning`."""
    allocate: str = "uniform"
    """What chooses how many channels each group keeps, with methods that do not search: a name of
    `hwflow.compression.allocation.ALLOCATIONS`, or a plan's file or folder."""
    gradual: GradualSettings = field(default_factory=GradualSettings)
    """Of methods that prune while training."""
    criterion: str = "l1"
    """Which channels of a group stay: a name of `hwflow.compression.channels.criteria.CRITERIA`."""
    begun_with: int | None = None
    """Episodes that the search was begun with, where a resumed run asks for more: the agent's warm-up is fitted to these."""
    reconstruct: Reconstruct = "none"
    """What is refitted by least squares to the whole network's outputs after surgery: nothing, the chosen plan's network before
    its fine-tuning (`plan`), or every network that a search measures, too (`search`)."""
    baselines: Baselines = "quick"
    """What the search is compared with: `none`; `quick`, plans for which no other is measured; `all`, every other searcher with
    as many plans and seeds, too."""
    word_bits: tuple[int, ...] = (2, 4, 8)
    """Where bits are decided: those that weights and activations can have, beside the chip's own width."""
    edge_bits: int = 8
    """Where bits are decided: the least of the first and of the last layer."""
    quantization: QuantizationSettings = field(default_factory=QuantizationSettings)
    """Of methods that store weights in fewer bits."""
    ppa_model: str | None = None
    """At ppa, the file of the model, which `hwflow ppa fit` writes."""
    extrapolate: bool = False
    """At ppa, whether shapes beyond the range of the characterisation are answered, too."""

    execution: str = DIRECT
    """How layers run on the accelerator, as in `hwflow.estimate`: a name of `hwflow.cost.executed_network.NAMES`. Costs before
    and after are of such networks."""

    winograd: WinogradSettings = field(default_factory=WinogradSettings)
    """Of methods that prune transformed weights of Winograd layers."""
    policy: str | None = None
    """A kept policy that the agent starts from instead of learning anew: a file or folder of `hwflow train-policy`, or
    `shipped`. The episodes then refine its plan; with 0 its plan is taken as it is. `hwflow prune` and `hwflow.prune` without
    settings take `shipped` where no searcher is named."""

    activations: Activations = "dram"
    """`resident` lets tensors between layers stay on the chip where that pays, at levels that map layers; budgets are shares of
    the unpruned network under the same rule."""
    operators: Operators = "mac"
    """`all` also prices what is no layer; the same."""
    latency: Latency = "overlap"
    """`with_fill` adds the time at the edges of layers (`hwflow.cost.edge_cycles`), at levels that map them; the same."""
    single_path: SinglePathSettings = field(default_factory=SinglePathSettings)
    """Of methods that decide by trained thresholds."""

    def __post_init__(self) -> None:
        if not isinstance(checked(self.execution), str):
            raise InputError("execution is a mapping of layers, which change while a network is compressed; give one name.")
        if not self.levels or len(set(self.levels)) != len(self.levels):
            raise InputError(f"levels is {', '.join(self.levels) or 'empty'}; name each level once, the search's first.")
        for level in self.levels:
            backend_of(level)
        for name, most in (("keep", _MOST), ("effort", MOST_EFFORT), ("jobs", MOST_JOBS)):
            check_whole(name, getattr(self, name), most)
        check_whole("episodes", self.episodes, _MOST, 1 if self.policy is None else 0)
        if self.begun_with is not None:
            check_whole("begun_with", self.begun_with, self.episodes)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds is {self.seeds!r}; give each seed once, and at least one.")
        for seed in self.seeds:
            check_whole("a seed", seed, 2**63 - 1, 0)
        object.__setattr__(self, "searcher", searcher_named(self.searcher))
        if self.policy is not None and self.searcher != "ddpg":
            raise InputError(
                f"a policy is what the agent starts from, and the searcher is {self.searcher!r}: leave out the policy "
                f"{self.policy}, or take the agent (--search agent)."
            )
        if self.baselines not in get_args(Baselines):
            raise not_found("set of baselines", self.baselines, get_args(Baselines))
        if self.metric not in METRICS:
            raise not_found("metric", self.metric, METRICS)
        check_budgets(self.budgets)
        rules = {name: getattr(self, name) for name in _RULES}
        for name, choices in _RULES.items():
            if rules[name] not in choices:
                raise not_found(name, rules[name], choices)
        check_used(CostOptions(**rules), self.levels)
        criterion_named(self.criterion)
        if self.proxy.first and not self.budgets:
            raise InputError(
                f"first of the proxy is {self.proxy.first}: plans race against the uniform one within the budget, and there is "
                "no budget. Leave it 0."
            )
        if self.reconstruct not in get_args(Reconstruct):
            raise not_found("reconstruct", self.reconstruct, get_args(Reconstruct))
        if not self.word_bits or len(set(self.word_bits)) != len(self.word_bits):
            raise InputError(f"word_bits is {self.word_bits!r}; give each number of bits once, and at least one.")
        for bits in self.word_bits:
            check_whole("word_bits", bits, _MOST_BITS, _LEAST_BITS)
        check_whole("edge_bits", self.edge_bits, _MOST_BITS, _LEAST_BITS)

    @property
    def mapping_objective(self) -> Objective:
        """What mappings minimise."""
        return self.objective or objective_of(self.budgets or (Budget(self.metric, 1.0),))

    def cost_options(self, level: LevelName) -> CostOptions:
        """What a level is asked for; one set of settings holds for several levels, which look at different ones of them."""
        shared: dict[str, Any] = {"effort": self.effort, "energy": self.energy, "engine": self.engine, "jobs": self.jobs}
        shared |= {"dataflow": self.dataflow, "objective": self.mapping_objective, "mapper": self.mapper}
        shared |= {name: getattr(self, name) for name in _RULES}
        shared |= {"ppa_model": self.ppa_model, "extrapolate": self.extrapolate}
        return CostOptions(level=level, fallback="none", execution=self.execution, **used_at(level, **shared))

    @property
    def rules(self) -> str:
        """What costs are of beside the layers by way of DRAM, for a heading; empty where that is all."""
        asked = {name: (getattr(self, name), choices[0]) for name, choices in _RULES.items()}
        return "".join(f", {name} {value}" for name, (value, usual) in asked.items() if value != usual)

    @property
    def first_episodes(self) -> int:
        """Episodes that the search was begun with."""
        return self.begun_with or self.episodes

    @property
    def learner(self) -> Hyperparameters:
        """The agent's settings, its warm-up fitted to the number of episodes that the search was begun with."""
        return replace(self.agent, warmup=min(self.agent.warmup, self.first_episodes // 3))

    def to_data(self) -> dict[str, Any]:
        """Plain data, for `config.json`."""
        data: dict[str, Any] = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}
        del data["jobs"]  # changes nothing but the time
        for name in _SINCE_0_1:
            if getattr(self, name) == Settings.__dataclass_fields__[name].default:
                del data[name]
        if not self.proxy.first:
            del data["proxy"]["first"]
        if self.gradual == GradualSettings():
            del data["gradual"]
        if self.quantization == QuantizationSettings():
            del data["quantization"]
        if self.winograd == WinogradSettings():
            del data["winograd"]
        elif self.winograd.thresholds == WinogradSettings.thresholds:
            del data["winograd"]["thresholds"]
        if self.single_path == SinglePathSettings():
            del data["single_path"]
        return data


DECIDES = {frozenset({"channels"}): "channels", frozenset({"bits"}): "bits", frozenset({"bits", "channels"}): "mixed"}
"""The methods that search plans, by what they decide."""


def deciding(names: str | Iterable[str]) -> str:
    """The method that decides these, of channels and bits.

    Args:
        names: several, or a text with commas between them.

    Raises:
        InputError: for an unknown one, or none.
    """
    given = [part.strip() for part in names.split(",") if part.strip()] if isinstance(names, str) else list(names)
    known = sorted({name for group in DECIDES for name in group})
    for name in given:
        if name not in known:
            raise not_found("decision", name, known)
    if not given:
        raise InputError(f"nothing is decided; name one or both of {', '.join(known)}.")
    return DECIDES[frozenset(given)]


def changed(settings: Settings, changes: Mapping[str, Any], tuning: Callable[[], Recipe]) -> Settings:
    """Settings with some fields at other values: their own, of the fine-tuning's recipe (`epochs`), of the
    gradual methods' settings (`ramp_steps`), of the quantizing ones' (`weight_bits`), of the Winograd methods' (`sparsity`), of
    those that train thresholds (`search_epochs`), `samples` of the proxy, or what is decided (`decide="bits,channels"`).

    Args:
        tuning: gives the recipe that is changed where the settings have none.

    Raises:
        InputError: for a field that there is not, listing those that there are.
    """
    own = {name: value for name, value in changes.items() if name in Settings.__dataclass_fields__}
    recipe = {n: v for n, v in changes.items() if n in Recipe.__dataclass_fields__ and n not in own}
    kinds: dict[str, Any] = {"gradual": GradualSettings, "winograd": WinogradSettings, "quantization": QuantizationSettings}
    kinds["single_path"] = SinglePathSettings
    nested: dict[str, dict[str, Any]] = {
        field: {n: v for n, v in changes.items() if n in kind.__dataclass_fields__} for field, kind in kinds.items()
    }
    for name in changes:
        if not any(name in found for found in (own, recipe, _APART, *nested.values())):
            fields_of: tuple[Any, ...] = (Settings, Recipe, *kinds.values())
            raise not_found("setting of prune", name, {*_APART, *(f for kind in fields_of for f in kind.__dataclass_fields__)})
    if "decide" in changes:
        method = deciding(changes["decide"])
        if own.get("method", method) != method:
            raise InputError(f"decide is {changes['decide']!r}, which the method {own['method']} does not do; leave one out.")
        own["method"] = method
    if "samples" in changes:
        own["proxy"] = replace(own.get("proxy", settings.proxy), samples=changes["samples"])
    for name, given in nested.items():
        if given:
            own[name] = replace(own.get(name, getattr(settings, name)), **given)
    if recipe:
        own["tuning"] = replace(own.get("tuning") or settings.tuning or tuning(), **recipe)
    return replace(settings, **own) if own else settings


def settings_of(
    level: str | Sequence[str],
    metric: str,
    budget: float | str | Mapping[str, float] | None,
    seed: int | Sequence[int],
) -> Settings:
    """Settings from what `hwflow.prune` is most often asked for."""
    if budget is None:
        budgets: tuple[Budget, ...] = ()
    elif isinstance(budget, str):
        budgets = parse_budgets(budget, metric)
    elif isinstance(budget, Mapping):
        budgets = tuple(Budget(name, share) for name, share in budget.items())
    else:
        budgets = (Budget(metric, budget),)
    levels: Any = (level,) if isinstance(level, str) else tuple(level)
    seeds: Any = tuple(seed) if isinstance(seed, Sequence) and not isinstance(seed, str) else (seed,)
    return Settings(levels=levels, budgets=budgets, metric=metric, seeds=seeds)
