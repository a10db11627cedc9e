"""NSGA-II (pymoo) over a space of designs: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6(2), 2002.

Designs are places in the unit cube, as `Space.decode` reads them. A design that a constraint forbids is infeasible and costs
nothing; one that was costed before is not costed again, so `points` counts different designs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwflow.optional import needed
from hwflow.sweeping.sampling import count, draw
from hwflow.sweeping.searcher import Cover, Least, Values
from hwflow.sweeping.space import Design, Space

_IDLE = 50  # generations without a new design after which there is nothing more to be found


def search(
    space: Space,
    *,
    points: int,
    seed: int,
    objectives: int,
    cover: Cover,
    least: Least | None = None,
) -> dict[Design, Values]:
    """What `cover` says of `points` designs, or of all where there are fewer; the same for the same seed and answers.

    Args:
        least: not looked at.

    Raises:
        MissingDependency: where pymoo is not installed.
    """
    known = count(space)
    if known is not None and known <= points:
        designs = list(space.designs())
        return dict(zip(designs, cover(designs), strict=True))
    needed("pymoo", "the search nsga2", "sweep")
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.config import Config
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.problems.static import StaticProblem

    Config.warnings["not_compiled"] = False  # it would print
    size = max(4, min(100, 2 * round(math.sqrt(points) / 2)))
    first = draw(space, "lhs", min(size, points), seed)
    problem = Problem(n_var=space.genes, n_obj=objectives, n_ieq_constr=1, xl=0.0, xu=1.0)
    algorithm = NSGA2(
        pop_size=size,
        sampling=np.array([space.encode(design) for design in first]),
        crossover=SBX(prob=1.0, eta=3.0),
        mutation=PM(prob=1.0, eta=3.0),
        eliminate_duplicates=DefaultDuplicateElimination(func=lambda pop: np.array([_cell(space, x) for x in pop.get("X")])),
    )
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    found: dict[Design, Values] = {}
    idle = 0
    while len(found) < points and idle < _IDLE:
        asked = algorithm.ask()
        designs = [space.decode(x) for x in asked.get("X")]
        new = [d for d in dict.fromkeys(designs) if d not in found and space.allows(d)][: points - len(found)]
        idle = 0 if new else idle + 1
        found |= dict(zip(new, cover(new), strict=True))
        values = [found.get(design) for design in designs]
        feasible = [v is not None for v in values]
        scores = np.array([v if v is not None else (0.0,) * objectives for v in values])
        static = StaticProblem(problem, F=scores, G=np.array([[0.0 if ok else 1.0] for ok in feasible]))
        Evaluator().eval(static, asked)
        algorithm.tell(infills=asked)
    return found


def _cell(space: Space, genes: Sequence[float]) -> list[float]:
    """The same numbers for all genes of one design."""
    return space.encode(space.decode(genes))
