"""Long trajectories with everything on: the same, bit for bit, in any batch and on any threads."""

from dataclasses import fields, replace

import numpy as np
import pytest

import scenarios
from gridrl.env.choices import Choices, all_choices
from gridrl.env.opponent import Opponent
from gridrl.env.state import Orders, State
from gridrl.env.step import reset, step
from gridrl.env.vector import members, put
from gridrl.env.world import World

STEPS = 200


def eventful(name: str) -> World:
    """A scenario with an opponent that is always about, maintenance, and tight ratings."""
    world = scenarios.load(name).world()
    n = world.case.grid.n_branch
    out = np.zeros((world.series.p.shape[0], n), np.bool_)
    out[::40, 1] = out[1::40, 1] = True
    return replace(
        world,
        series=replace(world.series, maintenance=out),
        opponent=Opponent(
            lines=np.arange(n), weight=np.ones(n), by_loading=True, duration=5, cooldown=9,
            budget=5.0, budget_per_step=0.6,
        ),
        rules=replace(world.rules, soft_limit=0.8, hard_limit=1.3),
    )  # fmt: skip


def draw(state: State, what: int, width: int) -> np.ndarray:
    """[B, width] numbers in [0, 1) that follow from the seed, the row and ``what`` alone."""
    with np.errstate(over="ignore"):
        z = state.seed[:, None] + np.uint64(what) * np.uint64(0xD1342543DE82EF95)
        z = z + (state.row.astype(np.uint64)[:, None] << np.uint64(20))
        z = z + np.arange(width, dtype=np.uint64)[None] * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return (z >> np.uint64(11)).astype(float) / 2.0**53


def orders_of(world: World, choices: Choices, state: State) -> Orders:
    """Switching, redispatch and curtailment now and then, of each state on its own."""
    fleet = world.fleet
    mask = choices.allowed(world, state)
    score = draw(state, 1, len(choices)) * mask
    number = np.where(draw(state, 2, 1)[:, 0] < 0.4, score.argmax(axis=1), 0)
    redispatch = (2 * draw(state, 3, fleet.n_gen) - 1) * fleet.ramp_up * fleet.redispatchable
    redispatch *= draw(state, 4, fleet.n_gen) < 0.3
    less = fleet.renewable & (draw(state, 5, fleet.n_gen) < 0.05)
    return replace(
        choices.orders(state, number),
        redispatch=redispatch, curtail=np.where(less, draw(state, 6, fleet.n_gen), np.nan),
    )  # fmt: skip


def play(world: World, state: State, steps: int, seen: dict[str, int] | None = None) -> State:
    """Step and begin anew where an episode is over, from a seed of its own."""
    choices = all_choices(world)
    for _ in range(steps):
        before = state
        state, outcome = step(world, state, orders_of(world, choices, state))
        for b in np.flatnonzero(~state.running):
            rng = np.random.default_rng(int(state.seed[b]))
            state = put(state, np.array([b]), reset(world, rng, batch=1))
        if seen is not None:
            seen["trips"] += int(outcome.tripped.sum())
            seen["attacks"] += int((outcome.attacked >= 0).sum())
            seen["splits"] += int((state.busbar == 2).any(axis=1).sum())
            seen["moves"] += int((state.actual != 0).any(axis=1).sum())
            seen["ends"] += int((state.seed != before.seed).sum())
    return state


def same(a: State, b: State) -> None:
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert x.tobytes() == y.tobytes() or np.array_equal(x, y, equal_nan=True), field.name


@pytest.mark.parametrize(
    "name", ("ieee14", pytest.param("ieee118_region36", marks=pytest.mark.slow))
)
def test_batches_and_threads_change_no_bit(name: str) -> None:
    world = eventful(name)
    threaded = replace(
        world, engine=replace(world.engine, options=replace(world.engine.options, threads=2))
    )
    start = reset(world, np.random.default_rng(11), batch=256)
    seen = dict.fromkeys(("trips", "attacks", "splits", "moves", "ends"), 0)
    whole = play(world, start, STEPS, seen)
    assert min(seen.values()) > 100, seen  # all of it happened
    same(play(threaded, start, STEPS), whole)
    for which in ([0], [131], [255], list(range(40, 57))):
        some = np.array(which)
        same(play(world, members(start, some), STEPS), members(whole, some))


def test_an_idle_episode_keeps_every_value_that_a_step_works_out() -> None:
    world = eventful("ieee14")
    state = reset(world, np.random.default_rng(0), batch=8, steps=1)
    longer = reset(world, np.random.default_rng(1), batch=4)
    state = put(state, np.arange(4), longer)
    state, _ = step(world, state)
    after, _ = step(world, state)
    same(members(after, np.arange(4, 8)), members(state, np.arange(4, 8)))
    assert (after.row[:4] > state.row[:4]).all()
