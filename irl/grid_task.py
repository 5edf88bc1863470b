"""Operators of one grid as choosers among candidates: what each could order, and what came of it.

Operators take turns. The one whose turn it is sees a list of candidates - do nothing, configure a
substation or switch a line of its own area, order redispatch - and what each would lead to: the
environment simulates all of them (`gridrl.env.simulate`), outages included. What is chosen, by
whatever policy, becomes a log for `irl.likelihood.CandidateChoice`.

Features are costs with a minus sign, so a positive weight is an aversion::

    shared   overload      loading above 0.9, summed over branches
             n_1           overload after the outage of a branch, mean over outages; lost counts 1
             losses        MW
    own      redispatch    MW ordered away from the plan
             switching     1 for an order to a substation or a line
             deviation     terminals of the own area that are off their usual busbar, lines open
             voltage       p.u. away from 1, mean over busbars of the own area
             tie_lines     loading of branches that leave the own area, mean
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.env.choices import Choices, all_choices
from gridrl.env.simulate import simulate
from gridrl.env.state import Orders, State
from gridrl.env.step import reset, step
from gridrl.env.vector import put
from gridrl.env.world import World
from gridrl.policies.outages import after_outages
from irl.errors import IrlError
from irl.likelihood import CandidateChoice

SHARED = ("overload", "n_1", "losses")
OWN = ("redispatch", "switching", "deviation", "voltage", "tie_lines")
UNITS = ("p.u.", "p.u.", "MW", "MW", "orders", "terminals", "p.u.", "p.u.")
FIRM = 0.9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Utility of every candidate [n, d] of a decision -> number of the one that is chosen.
Chooser = Callable[[int, Floats, Ints], Ints]


@dataclass(frozen=True, eq=False, kw_only=True)
class Area:
    """What one operator is responsible for."""

    name: str
    substation: NDArray[np.bool_]  # [n_substation]
    number: Ints  # choices of its own, 0 (nothing) first


@dataclass(frozen=True, eq=False, kw_only=True)
class GridTask:
    """A world, its operators, and how many candidates each decision lists."""

    world: World
    choices: Choices
    areas: tuple[Area, ...]
    switching: int  # candidates that switch something, drawn from those allowed
    redispatch_mw: tuple[float, ...]  # steps of redispatch that are candidates


def grid_task(
    world: World,
    n_operator: int,
    *,
    switching: int = 6,
    redispatch_mw: Sequence[float] = (-10.0, 10.0),
) -> GridTask:
    """Divide a world among operators: areas of neighbouring substations, about equally many.

    Raises
    ------
    IrlError
        There are more operators than substations, or nothing to choose.
    """
    n = world.case.grid.n_substation
    if not 1 <= n_operator <= n or switching < 1:
        raise IrlError(f"{n_operator} operators cannot divide a grid of {n} substations.")
    owner = _owners(world, n_operator)
    choices = all_choices(world)
    line = np.argmax(choices.set_line != 0, axis=1)
    at = np.where(choices.substation >= 0, choices.substation,
                  world.case.grid.from_substation[line])  # fmt: skip
    areas = []
    for k in range(n_operator):
        mine = np.flatnonzero(owner[at] == k)
        areas.append(
            Area(
                name=f"operator_{k}", substation=owner == k,
                number=np.concatenate([[0], mine[mine > 0]]).astype(np.int64),
            )
        )  # fmt: skip
    return GridTask(
        world=world, choices=choices, areas=tuple(areas), switching=switching,
        redispatch_mw=tuple(redispatch_mw),
    )  # fmt: skip


def _owners(world: World, n_operator: int) -> Ints:
    """Operator of each substation: the nearest of seeds that lie far apart, in branches."""
    import networkx as nx

    grid = world.case.grid
    graph = nx.Graph()
    graph.add_nodes_from(range(grid.n_substation))
    graph.add_edges_from(
        zip(grid.from_substation.tolist(), grid.to_substation.tolist(), strict=True)
    )
    far = np.full((grid.n_substation, grid.n_substation), grid.n_substation)
    for a, lengths in nx.all_pairs_shortest_path_length(graph):
        far[a, list(lengths)] = list(lengths.values())
    seeds = [int(far.sum(axis=1).argmax())]
    while len(seeds) < n_operator:
        seeds.append(int(far[:, seeds].min(axis=1).argmax()))
    return np.asarray(far[:, seeds].argmin(axis=1), np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Listed:
    """Candidates of one operator in every state of a batch, one behind the other."""

    of: Ints  # [n] state of the batch
    orders: Orders  # [n]
    features: Floats  # [n, n_shared + n_own]

    @property
    def start(self) -> Ints:
        """First candidate of each state, and the end, [B + 1]."""
        size = np.bincount(self.of)
        return np.concatenate([[0], np.cumsum(size)]).astype(np.int64)


def candidates(task: GridTask, state: State, operator: int, rng: np.random.Generator) -> Listed:
    """What an operator may order in each state, and what each candidate would lead to.

    Do nothing comes first. A candidate that the rules refuse, or after which the grid would be
    lost, is not listed, unless it is to do nothing.
    """
    of, number, shift = _drawn(task, state, task.areas[operator], rng)
    orders = _orders(task, state, of, number, shift)
    after, outcome = simulate(task.world, state, orders, of=of)
    nothing = (number == 0) & (shift == 0).all(axis=1)
    fine = after.running & (outcome.verdict == 0) & ~outcome.failed
    kept = np.flatnonzero(nothing | fine)
    features = _features(task, after, operator, number, shift)[kept]
    return Listed(of=of[kept], orders=_some(orders, kept), features=features)


def _drawn(
    task: GridTask, state: State, area: Area, rng: np.random.Generator
) -> tuple[Ints, Ints, Floats]:
    """State, number of the choice, and redispatch by generator in p.u. of each candidate."""
    world = task.world
    may = task.choices.allowed(world, state)[:, area.number]
    free = np.flatnonzero(world.fleet.redispatchable)
    steps = np.asarray(task.redispatch_mw) / world.case.grid.s_base_mva
    n_gen = world.fleet.gen_unit.size
    of, number, shift = [], [], []
    for b in range(state.batch):
        allowed = area.number[1:][may[b, 1:]]
        some = rng.permutation(allowed)[: task.switching]
        moves = np.zeros((free.size * steps.size, n_gen))
        moves[np.arange(len(moves)), np.repeat(free, steps.size)] = np.tile(steps, free.size)
        one = np.concatenate([[0], np.sort(some), np.zeros(len(moves))])
        of.append(np.full(one.size, b))
        number.append(one)
        shift.append(np.concatenate([np.zeros((1 + some.size, n_gen)), moves]))
    return (
        np.concatenate(of).astype(np.int64),
        np.concatenate(number).astype(np.int64),
        np.concatenate(shift),
    )


def _orders(task: GridTask, state: State, of: Ints, number: Ints, shift: Floats) -> Orders:
    switch = task.choices.orders(state, number, of=of)
    return Orders(
        set_busbar=switch.set_busbar, set_line=switch.set_line,
        redispatch=shift if shift.any() else None,
    )  # fmt: skip


def _some(orders: Orders, which: Ints) -> Orders:
    parts = (orders.set_busbar, orders.set_line, orders.redispatch)
    busbar, line, shift = (None if part is None else part[which] for part in parts)
    return Orders(set_busbar=busbar, set_line=line, redispatch=shift)  # type: ignore[arg-type]


def _features(task: GridTask, after: State, operator: int, number: Ints, shift: Floats) -> Floats:
    """[n, d]; of a grid that is lost, those of a grid in which everything went wrong."""
    world, area = task.world, task.areas[operator]
    grid = world.case.grid
    rho = np.nan_to_num(after.rho, nan=2.0)
    outages = after_outages(world, after)
    beyond = np.where(outages.lost, 1.0, np.clip(outages.loading - 1.0, 0.0, 1.0))
    losses = np.nan_to_num((after.s_from + after.s_to).real).sum(axis=1) * grid.s_base_mva
    leaves = area.substation[grid.from_substation] ^ area.substation[grid.to_substation]
    inside = area.substation[grid.from_substation] | area.substation[grid.to_substation]
    busbar, closed = world.base_switching
    own = area.substation[grid.terminal_substation]
    off = (after.busbar != busbar)[:, own].sum(axis=1)
    opened = (after.closed != closed)[:, inside].sum(axis=1)
    level = np.abs(np.nan_to_num(after.v[:, : grid.n_substation][:, area.substation]))
    away = np.where(level > 0, np.abs(level - 1.0), 0.0).mean(axis=1)
    cost = np.stack(
        [
            np.maximum(rho - FIRM, 0.0).sum(axis=1),
            beyond.mean(axis=1),
            losses,
            np.abs(shift).sum(axis=1) * grid.s_base_mva,
            (number > 0).astype(np.float64),
            (off + opened).astype(np.float64),
            away,
            rho[:, leaves].mean(axis=1) if leaves.any() else np.zeros(len(rho)),
        ],
        axis=1,
    )
    return np.asarray(-cost)


def play(
    task: GridTask,
    choose: Chooser,
    n_decision: int,
    rng: np.random.Generator,
    *,
    batch: int = 16,
    episode: Ints | None = None,
) -> tuple[CandidateChoice, ...]:
    """Logs of at least ``n_decision`` decisions of each operator.

    Parameters
    ----------
    choose
        From operator, features [n, d] and start [B + 1] to one candidate of each decision [B].
    episode
        Episodes to play, at random among these; all by default.
    """
    world, n_operator = task.world, len(task.areas)
    pool = np.arange(world.series.n_episode) if episode is None else np.asarray(episode)
    state = reset(world, rng, episode=rng.choice(pool, batch))
    logs: list[list[tuple[Floats, Ints, Ints]]] = [[] for _ in range(n_operator)]
    done, turn = 0, 0
    while done < n_decision:
        operator = turn % n_operator
        listed = candidates(task, state, operator, rng)
        chosen = choose(operator, listed.features, listed.start)
        logs[operator].append((listed.features, listed.start, chosen))
        state, _ = step(world, state, _some(listed.orders, chosen))
        over = np.flatnonzero(~state.running)
        if over.size:
            state = put(state, over, reset(world, rng, episode=rng.choice(pool, over.size)))
        turn += 1
        done = (turn // n_operator) * batch
    return tuple(_joined(log, n_decision) for log in logs)


def _joined(log: Sequence[tuple[Floats, Ints, Ints]], n_decision: int) -> CandidateChoice:
    """Turns of one operator as one likelihood of its first ``n_decision`` decisions."""
    before = np.cumsum([0, *(len(features) for features, _, _ in log)])
    starts = np.concatenate(
        [start[:-1] + shift for (_, start, _), shift in zip(log, before, strict=False)]
    )
    chosen = np.concatenate([c + shift for (_, _, c), shift in zip(log, before, strict=False)])
    ends = np.append(starts, before[-1])[: n_decision + 1]
    return CandidateChoice(
        features=np.concatenate([features for features, _, _ in log])[: ends[-1]],
        start=ends, chosen=chosen[:n_decision],
    )  # fmt: skip


def boltzmann(weights: Sequence[Floats], rng: np.random.Generator) -> Chooser:
    """Operators that choose in proportion to the exponential of utility; the model itself."""

    def choose(operator: int, features: Floats, start: Ints) -> Ints:
        noisy = features @ weights[operator] + rng.gumbel(size=len(features))
        return best(noisy, start)

    return choose


def greedy(weights: Sequence[Floats], epsilon: float, rng: np.random.Generator) -> Chooser:
    """Operators that take the best candidate, and with ``epsilon`` any: not what is assumed."""

    def choose(operator: int, features: Floats, start: Ints) -> Ints:
        picked = best(features @ weights[operator], start)
        at_random = rng.random(picked.size) < epsilon
        some = start[:-1] + rng.integers(0, np.diff(start))
        return np.where(at_random, some, picked)

    return choose


def best(utility: Floats, start: Ints) -> Ints:
    """The best candidate of each decision, the first of equals."""
    top = np.repeat(np.maximum.reduceat(utility, start[:-1]), np.diff(start))
    first = np.where(utility == top, np.arange(utility.size), utility.size)
    return np.asarray(np.minimum.reduceat(first, start[:-1]), np.int64)
