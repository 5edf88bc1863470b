"""`reset` and `step`: pure functions from a batch of states to the next one.

A step follows the order of Grid2Op's: orders are judged; the series moves on by one row; storage,
curtailment and redispatch change the injections; orders to the topology are carried out, then
maintenance, hazards and the opponent have their say; the power flow is solved; overloaded lines
trip until none does; counters and cooldowns move on.
"""

from dataclasses import fields
from typing import NamedTuple

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.dispatch import carry_out
from gridrl.env.kernels_dispatch import judge_dispatch
from gridrl.env.kernels_grid import gather
from gridrl.env.kernels_opponent import attack
from gridrl.env.kernels_orders import (
    apply_topology,
    end_step,
    force_out,
    judge_topology,
    trip,
)
from gridrl.env.solve import solve_states
from gridrl.env.state import Ending, Orders, Outcome, State
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.jit import announced

NOTHING = Orders()


class Course(NamedTuple):
    """What a step runs into, besides its orders."""

    p: Floats  # [n, n_unit] p.u.
    q: Floats  # [n, n_unit] p.u.
    row: Ints  # [B] row of p and q that loads each state
    v_set: Floats  # [m, n_unit] p.u.
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
    advance(world, state, NOTHING, np.ones(episode.size, np.bool_), course)
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
    after, active = copied(state), state.running
    after.row[active] += 1
    p, q, v_set = world.tables
    outcome = advance(world, after, orders, active, Course(p, q, after.row, v_set, after.row))
    return after, outcome


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


def advance(world: World, state: State, orders: Orders, active: Bools, course: Course) -> Outcome:
    """One step of the active states in place, whose arrays nobody else holds.

    The row of ``state`` is already that of the step.
    """
    with announced("environment"):
        verdict, failed, hits = _judge(world, state, orders, active)
        gather(active, course.row, course.p, state.p)
        gather(active, course.row, course.q, state.q)
        over = np.zeros(state.batch, np.bool_)
        if world.dispatches:
            carry_out(world, state, _dispatch_orders(orders), active, course.beginning, verdict,
                      hits, failed, over)  # fmt: skip
        state.ending[over] = Ending.UNBALANCED
        before = state.busbar.copy()
        tripped, solves = _switch_and_solve(
            world, state, orders, active & ~over, verdict, hits, before, course
        )
    return Outcome(
        verdict=verdict, failed=failed, tripped=tripped, attacked=state.attacked.copy(),
        line_hit=hits[0], substation_hit=hits[1], solves=solves,
    )  # fmt: skip


def _judge(
    world: World, state: State, orders: Orders, active: Bools
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], Bools, tuple[Bools, Bools]]:
    """Verdict on every order, and what the legal ones concern."""
    rules, batch = world.rules, state.batch
    verdict = np.zeros(batch, np.int8)
    hits = (
        np.zeros((batch, state.closed.shape[1]), np.bool_),
        np.zeros((batch, world.area.size), np.bool_),
    )
    if orders.redispatch is not None or orders.curtail is not None or orders.storage is not None:
        judge_dispatch(
            active, *_dispatch_orders(orders), world.fleet.gen_arrays,
            world.fleet.storage_arrays, world.dispatch_settings[2], verdict,
        )  # fmt: skip
    if orders.set_busbar is not None or orders.set_line is not None:
        judge_topology(
            active, *_topology_orders(orders), state.closed,
            (state.line_cooldown, state.substation_cooldown), world.places,
            (rules.max_lines, rules.max_substations), hits, verdict,
        )  # fmt: skip
    return verdict, np.zeros(batch, np.bool_), hits


def _switch_and_solve(
    world: World, state: State, orders: Orders, active: Bools, verdict: np.ndarray,
    hits: tuple[Bools, Bools], before: np.ndarray, course: Course,
) -> tuple[Bools, int]:  # fmt: skip
    """Topology, power flow and cascade; returns the lines that tripped and the flows it took."""
    opponent, rules = world.opponent, world.rules
    if opponent.exists and course.real and not course.beginning:
        attack(
            active, state.seed, state.steps, state.rho, state.closed, np.array(opponent.lines),
            np.array(opponent.weight),
            opponent.settings, state.budget, state.attacked, state.attack_left,
            state.attack_pause, state.attack_wait,
        )  # fmt: skip
    if orders.set_busbar is not None or orders.set_line is not None:
        apply_topology(active, *_topology_orders(orders), verdict, state.busbar, state.closed)
    maintenance, hazard, ahead, left, hazard_left = world.outages
    if not course.real:
        hazard, hazard_left = hazard[:0], hazard_left[:0]
    force_out(active, state.row, maintenance, hazard, state.attacked, state.closed)
    which = np.flatnonzero(active)
    ending = solve_states(world, state, which, course.v_set, course.v_row)
    solves = which.size
    state.ending[which] = ending
    tripped = np.zeros(state.closed.shape, np.bool_)
    if rules.overflow_trips:
        solves += _cascade(world, state, which[ending == Ending.RUNNING], tripped, course)
    alive = which[state.ending[which] == Ending.RUNNING]
    end_step(
        alive, state.row, state.rho, state.closed, before, state.busbar, tripped,
        (state.overflow, state.protection), (state.line_cooldown, state.substation_cooldown),
        hits, (ahead, left, hazard_left), (state.attacked, state.attack_left),
        (rules.soft_limit, rules.reconnection, rules.line_cooldown, rules.substation_cooldown),
    )  # fmt: skip
    if course.beginning:
        for counts in (state.overflow, state.protection, state.line_cooldown):
            counts[:] = 0
        state.substation_cooldown[:] = 0
    if course.real:
        state.ending[alive[state.row[alive] >= state.last[alive]]] = Ending.SURVIVED
    return tripped, solves


def _cascade(world: World, state: State, left: Ints, tripped: Bools, course: Course) -> int:
    """Trip overloaded lines and solve again until none is left; returns the flows it took."""
    rules = world.rules
    counter, counted = state.protection.copy(), np.zeros(state.closed.shape, np.bool_)
    settings = (rules.soft_limit, rules.soft_steps, rules.hard_limit, not course.beginning)
    solves = 0
    while left.size:
        again = np.empty(left.size, np.bool_)
        trip(left, state.rho, state.closed, counter, counted, settings, tripped, again)
        left = left[again]
        if not left.size:
            break
        ending = solve_states(world, state, left, course.v_set, course.v_row)
        solves += left.size
        state.ending[left] = ending
        left = left[ending == Ending.RUNNING]
    return solves


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
