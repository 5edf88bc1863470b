"""What the N-1-aware expert says of grids in trouble: lessons for a network.

The expert simulates every order that the rules allow, and the best of them with every single
outage (`gridrl.policies.judge`). Its marks of all orders are kept, not only its choice: several
orders are often as good, and a network that learns one of them learns little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools
from gridrl.env.choices import Choices
from gridrl.env.observe import observe
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.view import static_of
from gridrl.env.world import World
from gridrl.graphs.batch import GraphBatch, Relation
from gridrl.graphs.candidate import CandidateView
from gridrl.policies.judge import Judged, judge
from gridrl.policies.screen import Screen

Reals = NDArray[np.float32]
Say = Callable[[str], None]

SIDE_BY_SIDE = 64  # states judged at a time
# A mark is a loading: that after the worst outage, plus what an overload and lost grids add to it.
OVERLOAD, LOST, CEILING = 10.0, 0.5, 3.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Lesson:
    """States of one grid, and what each order to them is worth."""

    nodes: dict[str, Reals]  # kind: [N, n, n_feature]
    active: dict[Relation, Reals]  # [N, n_edge, 1]
    whole: Reals  # [N, n]
    estimates: Reals  # [N, K, n] see `gridrl.policies.screen`
    allowed: Bools  # [N, K]
    worst: Reals  # [N, K] highest loading after the order, `CEILING` where the grid is lost
    mark: Reals  # [N, K] the lower the better; `lost_mark` where not looked at with outages

    def __len__(self) -> int:
        return len(self.whole)

    def some(self, which: NDArray[np.int64]) -> "Lesson":
        """Some of the states."""

        def part(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: x[which] for key, x in value.items()}
            return value[which]

        return Lesson(**{field.name: part(getattr(self, field.name)) for field in fields(self)})


def marks(found: Judged, threshold: float) -> Reals:
    """[B, K] what the expert thinks of each order; the lower the better."""
    lost = np.isinf(found.worst)
    worst = np.minimum(np.where(lost, CEILING, found.worst), CEILING)
    outage = np.minimum(np.nan_to_num(found.outage, nan=CEILING), CEILING)
    none = np.where(found.proved, np.maximum(found.lost, 0), found.lost.max(axis=1, keepdims=True))
    out = OVERLOAD * np.maximum(worst - threshold, 0.0) + LOST * none + outage
    return np.asarray(np.where(lost, OVERLOAD * CEILING, out), np.float32)


def lesson(
    world: World,
    choices: Choices,
    state: State,
    *,
    most: int,
    threshold: float = 0.95,
    say: Say = lambda _: None,
) -> Lesson:
    """Let the expert judge every state.

    Parameters
    ----------
    most
        Orders that are looked at with outages, those with the lowest loadings before any.
    """
    view, screen = CandidateView(static_of(world)), Screen(world, choices)
    parts = []
    for first in range(0, state.batch, SIDE_BY_SIDE):
        some = taken(state, np.arange(first, min(first + SIDE_BY_SIDE, state.batch)))
        may = choices.allowed(world, some)
        found = judge(world, choices, some, may, most=most)
        seen = view(observe(world, some, forecasts=True, ends=True))
        worst = np.minimum(np.where(np.isinf(found.worst), CEILING, found.worst), CEILING)
        parts.append(
            Lesson(
                nodes=dict(seen.nodes), active=edges_of(seen), whole=np.asarray(seen.whole),
                estimates=screen(some).features(), allowed=may,
                worst=worst.astype(np.float32), mark=marks(found, threshold),
            )
        )  # fmt: skip
        say(f"judged {first + some.batch} of {state.batch} states")
    return joined(parts)


def edges_of(seen: GraphBatch) -> dict[Relation, Reals]:
    """Which edges are in use, of the relations where that differs."""
    return {relation: np.asarray(x) for relation, x in seen.edges.items() if x.shape[2]}


def joined(parts: Sequence[Lesson]) -> Lesson:
    """Lessons on the same grid as one."""

    def along(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], dict):
            return {key: np.concatenate([value[key] for value in values]) for key in values[0]}
        return np.concatenate(values)

    return Lesson(**{field.name: along(field.name) for field in fields(Lesson)})
