"""`reset` and `step`: pure functions from a batch of states to the next one.

A step follows the order of Grid2Op's: orders are judged; the series moves on by one row; storage,
curtailment and redispatch change the injections; orders to the topology are carried out, then
maintenance, hazards and the opponent have their say; the power flow is solved; overloaded lines
trip until none does; counters and cooldowns move on.
"""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.dispatch import before_orders, carry_out, in_single
from gridrl.env.kernels_opponent import attack
from gridrl.env.kernels_step import begin_step, finish_step
from gridrl.env.solve import TYPES, flow_settings, flow_state
from gridrl.env.state import Ending, Orders, Outcome, State
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.jit import announced
from gridrl.powerflow.solve import LANES, in_threads

NOTHING = Orders()


class Course(NamedTuple):
    """What a step runs into, besides its orders."""

    p: Floats  # [n, n_unit] p.u.
    q: Floats  # [n, n_unit] p.u.
    row: Ints  # [B] row of p and q that loads each state
    v_set: Floats  # [m, n_holding] p.u., see `World.tables`
    v_row: Ints  # [B] row of v_set that holds the voltages of each state
    beginning: bool = False  # the step of a reset: rules do not count yet
    real: bool = True  # the opponent attacks, hazards happen and episodes end


def reset(
    world: World,
    rng: np.random.Generator,
    *,
    episode: Ints | None = None,
    batch: int | None = None,
    first: Ints | int = 0,
    steps: int | None = None,
) -> State:
    """Begin episodes.

    Parameters
    ----------
    rng
        Draws the seed of every episode, and the episodes where they are not given.
    episode
        [B] episodes of the series; by default ``batch`` of them at random.
    first
        [B] or one for all: rows of the episode to skip.
    steps
        Longest episode; by default to the end of its series.

    Raises
    ------
    ScenarioError
        There is no such episode, or it is too short for ``first``.
    """
    series = world.series
    if episode is None:
        episode = rng.integers(series.n_episode, size=1 if batch is None else batch)
    episode = np.asarray(episode, np.int64).reshape(-1)
    bad = (episode < 0) | (episode >= series.n_episode)
    if bad.any():
        raise ScenarioError(
            f"There is no episode {episode[bad][0]}; there are 0 to {series.n_episode - 1}."
        )
    begin = series.start[episode] + first
    last = series.start[episode + 1] - 1
    if steps is not None:
        last = np.minimum(last, begin + steps)
    if (begin >= last).any() or (begin < series.start[episode]).any():
        raise ScenarioError(
            "An episode would begin outside its series. Skip fewer rows, or ask for 1 step or more."
        )
    state = _blank(world, episode, begin, last, rng)
    course = Course(*world.tables[:2], begin, world.tables[2], begin, beginning=True)
    state.row[:] = begin
    before = replace(state, busbar=state.busbar.copy())
    advance(world, state, NOTHING, np.ones(episode.size, np.bool_), course, before)
    return state


def step(world: World, state: State, orders: Orders = NOTHING) -> tuple[State, Outcome]:
    """Move every running episode on by one row; those that are over stay as they are.

    What is random (the opponent) follows from the seed of each episode and its row alone, so a
    trajectory is the same whatever shares its batch.

    Raises
    ------
    ScenarioError
        The orders do not have the shape of the state.
    """
    check_orders(world, state.batch, orders)
    active = state.running
    after = _successor(state, active)
    after.row[active] += 1
    p, q, v_set = world.tables
    course = Course(p, q, after.row, v_set, after.row)
    return after, advance(world, after, orders, active, course, state)


def _successor(state: State, active: Bools) -> State:
    """The same state in arrays of its own, but for what a step of the active ones works out."""
    idle = np.flatnonzero(~active)
    arrays = {}
    for name in _NAMES:
        value = getattr(state, name)
        if name in _WORKED_OUT:
            arrays[name] = np.empty_like(value)
            if idle.size:
                arrays[name][idle] = value[idle]
        else:
            arrays[name] = value.copy()
    return State(**arrays)


_NAMES = tuple(field.name for field in fields(State))
_WORKED_OUT = frozenset({"p", "q", "v", "s_from", "s_to", "rho"})


def copied(state: State) -> State:
    """The same state in arrays of its own."""
    return State(**{field.name: getattr(state, field.name).copy() for field in fields(state)})


def check_orders(world: World, batch: int, orders: Orders) -> None:
    """Refuse orders of the wrong shape.

    Raises
    ------
    ScenarioError
        Naming the part and the shape that it should have.
    """
    grid, fleet = world.case.grid, world.fleet
    for name, width in (
        ("set_busbar", grid.n_terminal), ("set_line", grid.n_branch),
        ("redispatch", fleet.n_gen), ("curtail", fleet.n_gen), ("storage", fleet.n_storage),
    ):  # fmt: skip
        value = getattr(orders, name)
        if value is not None and np.shape(value) != (batch, width):
            raise ScenarioError(f"{name} has shape {np.shape(value)}, expected ({batch}, {width}).")


def _blank(world: World, episode: Ints, begin: Ints, last: Ints, rng: np.random.Generator) -> State:
    """States before their first power flow: all as the case is switched, one row too early."""
    case, fleet, rules = world.case, world.fleet, world.rules
    grid, batch = case.grid, episode.size
    count = {name: np.zeros((batch, grid.n_branch), np.int32) for name in _LINE_COUNTS}
    hours, _, _, losing = world.dispatch_settings
    charge = rules.storage_start * fleet.energy_max
    if losing:  # the first step takes it off again
        charge = charge + fleet.loss * hours
    return State(
        row=begin - 1, first=begin, last=last, episode=episode,
        seed=rng.integers(2**64, size=batch, dtype=np.uint64),
        ending=np.zeros(batch, np.int8),
        busbar=np.repeat(case.topology.busbar, batch, axis=0),
        closed=np.repeat(case.topology.closed, batch, axis=0),
        **count,
        substation_cooldown=np.zeros((batch, grid.n_substation), np.int32),
        target=np.zeros((batch, fleet.n_gen)), actual=np.zeros((batch, fleet.n_gen)),
        set_point=np.zeros((batch, fleet.n_gen)), limit=np.ones((batch, fleet.n_gen)),
        modified=np.zeros((batch, fleet.n_gen), np.bool_),
        charge=np.repeat(charge[None], batch, axis=0),
        absorbed=np.zeros((batch, fleet.n_storage)), totals=np.zeros((batch, 2)),
        budget=np.full(batch, world.opponent.budget),
        attacked=np.full(batch, -1, np.int32), attack_left=np.zeros(batch, np.int32),
        attack_pause=np.full(batch, world.opponent.cooldown, np.int32),
        attack_wait=np.full(batch, -1, np.int32),
        p=np.zeros((batch, grid.n_unit)), q=np.zeros((batch, grid.n_unit)),
        v=np.full((batch, world.engine.model.n_node), np.nan + 0j),
        s_from=np.zeros((batch, grid.n_branch), np.complex128),
        s_to=np.zeros((batch, grid.n_branch), np.complex128),
        rho=np.zeros((batch, grid.n_branch)),
    )  # fmt: skip


_LINE_COUNTS = ("overflow", "protection", "line_cooldown")


def advance(
    world: World, state: State, orders: Orders, active: Bools, course: Course, before: State
) -> Outcome:
    """One step of the active states in place, whose arrays nobody else holds.

    The row of ``state`` is already that of the step; ``before`` is the state before it, whose
    loadings, busbars and voltages count (its busbars must be an array of their own). What is solved
    anew needs no value in ``state``.
    """
    grid, batch = world.case.grid, state.batch
    verdict, failed = np.zeros(batch, np.int8), np.zeros(batch, np.bool_)
    hits = (
        np.zeros((batch, grid.n_branch), np.bool_),
        np.zeros((batch, grid.n_substation), np.bool_),
    )
    tripped = np.zeros((batch, grid.n_branch), np.bool_)
    with announced("environment"):
        parts = (*_topology_orders(orders), *_dispatch_orders(orders))
        _inject(world, state, parts, active, course, (verdict, failed, *hits))
        going = active & (state.ending == Ending.RUNNING)
        over = np.flatnonzero(active & ~going)
        for name in ("v", "s_from", "s_to", "rho"):
            getattr(state, name)[over] = getattr(before, name)[over]
        _attack(world, state, going, course, before)
        solves = _switch_and_solve(
            world, state, (*parts[:2], verdict), going, course, before, (*hits, tripped)
        )
    return Outcome(
        verdict=verdict, failed=failed, tripped=tripped, attacked=state.attacked.copy(),
        line_hit=hits[0], substation_hit=hits[1], solves=solves,
    )  # fmt: skip


def _inject(
    world: World, state: State, parts: tuple[Any, ...], active: Bools, course: Course,
    found: tuple[Any, ...],
) -> None:  # fmt: skip
    """Verdict on every order; injections of the series, storage, curtailment and redispatch."""
    rules = world.rules
    owed, moves = np.zeros(state.batch), np.zeros(state.batch, np.bool_)
    dispatch = (
        state.target, state.actual, state.set_point, state.limit, state.modified, state.charge,
        state.absorbed, state.totals,
    )  # fmt: skip
    single = world.dispatches and rules.redispatch != "nearest"
    was = before_orders(state, course.p, course.row) if single else None
    begin_step(
        active, parts, world.fleet_arrays, world.places,
        (state.closed, state.line_cooldown, state.substation_cooldown, state.p, state.q,
         state.ending, dispatch),
        (course.row, course.p, course.q), (rules.max_lines, rules.max_substations),
        (course.beginning, world.dispatches, rules.redispatch == "nearest",
         world.dispatch_settings),
        (*found, owed, moves),
    )  # fmt: skip
    if was is not None:
        going = active & (state.ending == Ending.RUNNING)
        in_single(world, state, was, going, parts[2], found[0], found[1], owed)
    if moves.any():
        carry_out(world, state, moves, owed)


def _attack(world: World, state: State, active: Bools, course: Course, before: State) -> None:
    opponent = world.opponent
    if opponent.exists and course.real and not course.beginning:
        attack(
            active, state.seed, state.steps, before.rho, state.closed, np.array(opponent.lines),
            np.array(opponent.weight),
            opponent.settings, state.budget, state.attacked, state.attack_left,
            state.attack_pause, state.attack_wait,
        )  # fmt: skip


def _switch_and_solve(
    world: World, state: State, orders: tuple[Any, ...], active: Bools, course: Course,
    before: State, found: tuple[Any, ...],
) -> int:  # fmt: skip
    """Topology, power flow, cascade, counters; returns the power flows that it took."""
    rules = world.rules
    maintenance, hazard, ahead, left, hazard_left = world.outages
    if not course.real:
        hazard, hazard_left = hazard[:0], hazard_left[:0]
    limits = (
        float(rules.soft_limit), rules.soft_steps, float(rules.hard_limit), not course.beginning,
        rules.overflow_trips,
    )  # fmt: skip
    numbers = (
        float(rules.soft_limit), rules.reconnection, rules.line_cooldown, rules.substation_cooldown
    )  # fmt: skip
    counts = (
        state.row, state.last, state.attacked, state.attack_left, state.overflow, state.protection,
        state.line_cooldown, state.substation_cooldown, state.ending, before.busbar,
    )  # fmt: skip
    flow = (*world.flow_arrays, flow_settings(world))
    arrays = flow_state(state, before.v)
    outages = (maintenance, hazard, ahead, left, hazard_left, world.eventful)
    set_points = (course.v_set, course.v_row, world.holding)
    settings = (course.beginning, course.real, limits, numbers)
    solves: list[int] = []

    def run(part: Ints) -> None:
        solves.append(
            finish_step(
                LANES, TYPES, part, orders, flow, arrays, counts, outages, set_points, settings,
                found,
            )
        )  # fmt: skip

    in_threads(run, np.flatnonzero(active), world.engine.options.threads)
    return sum(solves)


def _topology_orders(orders: Orders) -> tuple[np.ndarray, np.ndarray]:
    none = np.empty((0, 0), np.int8)
    return tuple(  # type: ignore[return-value]
        none if value is None else np.ascontiguousarray(value, np.int8)
        for value in (orders.set_busbar, orders.set_line)
    )


def _dispatch_orders(orders: Orders) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    none = np.empty((0, 0))
    return tuple(  # type: ignore[return-value]
        none if value is None else np.ascontiguousarray(value, np.float64)
        for value in (orders.redispatch, orders.curtail, orders.storage)
    )
