"""An evaluation: scenarios x policies x episodes x seeds, each played once and kept."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

import gridrl
from gridrl.arrays import Ints
from gridrl.env.choices import all_choices
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.evaluation.episodes import Pair, play
from gridrl.evaluation.ledger import Row
from gridrl.evaluation.store import Store
from gridrl.policies.policy import Policy
from gridrl.policies.registry import described

PACK = "test"  # of scenarios that keep episodes for testing
Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Place:
    """A scenario that is played, with the episodes to play."""

    name: str
    world: World
    episodes: Ints
    digest: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What is to be evaluated."""

    places: Sequence[Place]
    policies: Sequence[Policy]
    seeds: Sequence[int] = (0,)
    steps: int | None = None  # longest episode
    n1_every: int = 1  # steps between looks at single outages, 0: never
    batch: int = 16  # episodes side by side

    def __post_init__(self) -> None:
        if not self.places or not self.policies or not self.seeds:
            raise ScenarioError("An evaluation needs a scenario, a policy and a seed.")
        for name, least in (("batch", 1), ("n1_every", 0)):
            if getattr(self, name) < least:
                raise ScenarioError(f"{name} is {getattr(self, name)}; give {least} or more.")
        if self.steps is not None and self.steps < 1:
            raise ScenarioError(f"steps is {self.steps}; give 1 or more.")
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ScenarioError(f"Policy {twice[0]} is named twice. Name each once.")

    @property
    def names(self) -> list[str]:
        """Policies as they were asked for, options included."""
        return [described(policy) for policy in self.policies]

    @property
    def settings(self) -> Row:
        """What rows depend on besides their keys."""
        return {
            "gridrl": gridrl.__version__, "steps": self.steps, "n1_every": self.n1_every,
            "scenarios": {place.name: place.digest for place in self.places},
        }  # fmt: skip

    def keys(self) -> list[tuple[Any, ...]]:
        """Of all rows: scenario, policy, episode, seed."""
        return [
            (place.name, policy, int(episode), seed)
            for place in self.places
            for policy in self.names
            for episode in place.episodes
            for seed in self.seeds
        ]


def place_of(source: str, *, pack: str = "", episodes: int | None = None) -> Place:
    """A scenario by name or path, and the first ``episodes`` of a pack of it.

    Parameters
    ----------
    pack
        "all", "train" or "test"; by default "test" where the scenario has one.

    Raises
    ------
    ScenarioError
        There is no such scenario, pack or number of episodes.
    """
    # The package of scenarios stands on this one; only its name is known here.
    scenario: Any = import_module("scenarios").load(source)
    chosen = scenario.episodes(pack or (PACK if scenario.test_episodes else "all"))
    if episodes is not None:
        if not 1 <= episodes <= chosen.size:
            raise ScenarioError(
                f"{scenario.name} has {chosen.size} episodes in this pack; asked for {episodes}."
            )
        chosen = chosen[:episodes]
    world = scenario.world()
    return Place(name=source, world=world, episodes=chosen, digest=digest_of(world))


def digest_of(world: World) -> str:
    """SHA-256 of grid, series, rules, fleet and opponent: rows of different worlds never mix."""
    sha = hashlib.sha256(world.case.digest.encode())
    series = world.series
    for values in (
        series.start, series.p, series.q, series.v_set, series.maintenance, series.hazard,
        series.p_forecast, series.q_forecast, *world.fleet.gen_arrays, *world.fleet.storage_arrays,
        world.opponent.lines, world.opponent.weight, world.area,
    ):  # fmt: skip
        sha.update(np.ascontiguousarray(values).tobytes())
    numbers = (*world.opponent.settings, world.opponent.budget, series.step_s)
    sha.update(repr((asdict(world.rules), numbers)).encode())
    return sha.hexdigest()


def evaluate(
    task: Task, store: Store | None = None, *, progress: Progress = lambda _share, _now: None
) -> list[Row]:
    """Play what is not finished yet; rows of all that is, in the order of ``task.keys()``.

    Parameters
    ----------
    store
        Keeps the row of each episode as it ends, and knows those of earlier calls; by default none
        does.
    """
    store = store or Store(None, task.settings)
    todo = _todo(task, store)
    longest = task.steps or np.inf
    total = sum(
        min(place.world.series.horizon(episode), longest)
        for place, _, _, pairs in todo
        for episode, _ in pairs
    )
    done = 0

    for place, policy, name, pairs in todo:
        choices = all_choices(place.world)
        for first in range(0, len(pairs), task.batch):
            some = pairs[first : first + task.batch]

            def finished(pair: Pair, row: Row, place: Place = place, name: str = name) -> None:
                names = place.world.series.names
                store.add(
                    {
                        "scenario": place.name, "policy": name, "episode": pair[0],
                        "seed": pair[1], "title": names[pair[0]] if names else "", **row,
                    }
                )  # fmt: skip

            def moved(steps: int, now: str = f"{name} on {place.name}") -> None:
                nonlocal done
                done += steps
                progress(min(done / max(total, 1), 1.0), now)

            play(
                place.world, choices, policy, some, steps=task.steps, n1_every=task.n1_every,
                finished=finished, progress=moved,
            )  # fmt: skip
    return store.chosen(task.keys())


def _todo(task: Task, store: Store) -> list[tuple[Place, Policy, str, list[Pair]]]:
    """What is left, policy by policy."""
    out = []
    for place in task.places:
        for policy, name in zip(task.policies, task.names, strict=True):
            pairs = [
                (int(episode), seed)
                for episode in place.episodes
                for seed in task.seeds
                if not store.has(scenario=place.name, policy=name, episode=int(episode), seed=seed)
            ]
            if pairs:
                out.append((place, policy, name, pairs))
    return out
