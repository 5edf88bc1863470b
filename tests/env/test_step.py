"""The functional core: pure, the same in every batch, and strict about what is ordered."""

from dataclasses import fields, replace

import numpy as np
import pytest

from gridrl.env.choices import all_choices
from gridrl.env.observe import observe
from gridrl.env.state import Ending, Orders, State
from gridrl.env.step import copied, reset, step
from gridrl.env.world import World
from gridrl.errors import ScenarioError

# Bit for bit: a lane stands still when it is done, whatever the others do.
SAME = 0.0


def play(world: World, state: State, steps: int, seed: int) -> State:
    """Random allowed switching, drawn for each state from its own stream."""
    choices = all_choices(world)
    streams = [np.random.default_rng([seed, int(s)]) for s in state.seed]
    for _ in range(steps):
        mask = choices.allowed(world, state)
        draws = [rng.random(2) for rng in streams]
        number = [
            int(np.flatnonzero(row)[int(at * row.sum())]) if go < 0.3 else 0
            for row, (go, at) in zip(mask, draws, strict=True)
        ]
        state, outcome = step(world, state, choices.orders(state, np.array(number)))
        assert not outcome.verdict.any()  # what the mask allows is legal
    return state


def part(state: State, which: list[int]) -> State:
    return State(**{f.name: getattr(state, f.name)[which] for f in fields(state)})


def same(a: State, b: State) -> None:
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if x.dtype.kind in "fc":
            np.testing.assert_allclose(x, y, rtol=0, atol=SAME, err_msg=field.name)
        else:
            np.testing.assert_array_equal(x, y, err_msg=field.name)


def test_a_trajectory_does_not_depend_on_its_batch(world: World) -> None:
    start = reset(world, np.random.default_rng(3), batch=33)
    whole = play(world, start, 12, 1)
    assert len(set(whole.ending.tolist())) > 1  # some went down
    for which in ([0], [7, 20], list(range(10, 33))):
        same(play(world, part(start, which), 12, 1), part(whole, which))


def test_two_threads_change_nothing(world: World) -> None:
    options = replace(world.engine.options, threads=2)
    threaded = replace(world, engine=replace(world.engine, options=options))
    start = reset(world, np.random.default_rng(3), batch=40)
    same(play(threaded, start, 15, 1), play(world, start, 15, 1))


def test_a_step_leaves_its_state_alone(world: World) -> None:
    state = reset(world, np.random.default_rng(0), batch=3)
    before = copied(state)
    step(world, state, Orders(set_line=-np.ones((3, world.case.grid.n_branch), np.int8)))
    same(state, before)


def test_what_is_over_stays_as_it_is(world: World) -> None:
    state = reset(world, np.random.default_rng(0), batch=4, steps=2)
    for _ in range(2):
        state, _ = step(world, state)
    assert (state.ending != Ending.RUNNING).all()
    after, _ = step(world, state)
    same(state, after)


def test_the_opponent_takes_a_line_for_its_time_and_pays_for_it(world: World) -> None:
    state = reset(world, np.random.default_rng(5), batch=6)
    seen = np.zeros((25, 6), np.int64)
    for k in range(25):
        before = state.budget
        state, _ = step(world, state)
        seen[k] = np.where(state.running, state.attacked, -2)
        held = state.running & (state.attacked >= 0)
        assert not state.closed[np.flatnonzero(held), state.attacked[held]].any()
        paid = before + 0.5 - (state.attacked >= 0)
        np.testing.assert_allclose(state.budget[state.running], paid[state.running])
    assert set(seen[0].tolist()) <= {2, 3, 4}
    alive = seen[-1] > -2
    assert alive.any()
    # 10 steps of one line, then a pause of 30 from its beginning
    assert (seen[:10, alive] == seen[0, alive]).all()
    assert (seen[10:, alive] == -1).all()


@pytest.mark.parametrize(
    ("make", "verdict"),
    (
        (lambda o: o.set_busbar.__setitem__((0, 0), 3), 1),  # no such busbar
        (lambda o: o.set_busbar.__setitem__((0, -1), -1), 1),  # a unit cannot be cut off
        (lambda o: o.set_line.__setitem__((0, 0), 2), 1),
        (lambda o: (o.set_line.__setitem__((0, 0), -1), o.set_busbar.__setitem__((0, 0), 1)), 1),
        (lambda o: o.redispatch.__setitem__((0, 0), 99.0), 1),  # beyond its ramp
        (lambda o: o.redispatch.__setitem__((0, 0), np.nan), 1),
        (lambda o: o.curtail.__setitem__((0, slice(None)), 1.5), 1),
        (lambda o: o.set_line.__setitem__((0, slice(0, 2)), -1), 2),  # two lines
        (lambda o: o.set_busbar.__setitem__((0, slice(0, 20)), 1), 2),  # many substations
        (lambda o: o.set_line.__setitem__((0, 0), -1), 0),
    ),
)  # fmt: skip
def test_orders_that_make_no_sense_or_are_not_allowed_do_nothing(
    peaceful: World, make: object, verdict: int
) -> None:
    grid, fleet = peaceful.case.grid, peaceful.fleet
    state = reset(peaceful, np.random.default_rng(0), batch=1)
    orders = Orders(
        set_busbar=np.zeros((1, grid.n_terminal), np.int8),
        set_line=np.zeros((1, grid.n_branch), np.int8),
        redispatch=np.zeros((1, fleet.n_gen)),
        curtail=np.full((1, fleet.n_gen), np.nan),
        storage=np.zeros((1, fleet.n_storage)),
    )
    make(orders)  # type: ignore[operator]
    after, outcome = step(peaceful, state, orders)
    assert outcome.verdict.tolist() == [verdict]
    if verdict:
        same(after, step(peaceful, state)[0])


@pytest.mark.parametrize("name", ("set_busbar", "set_line", "redispatch", "curtail", "storage"))
def test_orders_of_another_shape_are_refused_by_name(peaceful: World, name: str) -> None:
    state = reset(peaceful, np.random.default_rng(0), batch=2)
    with pytest.raises(ScenarioError, match=rf"{name} has shape \(1, 3\), expected \(2, \d+\)"):
        step(peaceful, state, Orders(**{name: np.zeros((1, 3))}))


def test_a_line_comes_back_where_it_was_after_its_cooldown(peaceful: World) -> None:
    grid = peaceful.case.grid
    state = reset(peaceful, np.random.default_rng(0), batch=1)
    choices = all_choices(peaceful)
    on2 = (choices.set_busbar[:, : grid.n_branch] == 2).sum(axis=1)
    number = int(np.argmax(on2))  # leaves busbar 2 supplied when one of its lines opens
    state, _ = step(peaceful, state, choices.orders(state, np.array([number])))
    line = int(np.flatnonzero(state.busbar[0, : grid.n_branch] == 2)[0])
    was = state.busbar.copy()
    order = np.zeros((1, grid.n_branch), np.int8)
    order[0, line] = -1
    state, _ = step(peaceful, state, Orders(set_line=order))
    assert not state.closed[0, line]
    assert state.running[0]
    order[0, line] = 1
    verdicts = []
    for _ in range(peaceful.rules.line_cooldown + 1):
        state, outcome = step(peaceful, state, Orders(set_line=order))
        verdicts.append(int(outcome.verdict[0]))
    assert verdicts == [2, 2, 2, 0]
    assert state.closed[0, line]
    np.testing.assert_array_equal(state.busbar, was)


def test_units_bring_what_branches_lose(world: World) -> None:
    """Tellegen: the power of all units is the loss of all branches, P and Q, splits included."""
    state = play(world, reset(world, np.random.default_rng(2), batch=60), 4, 4)
    seen = observe(world, state)
    solved = np.isin(state.ending, (Ending.RUNNING, Ending.SURVIVED))
    assert (state.busbar[solved] == 2).any()
    lost = (state.s_from + state.s_to).sum(axis=1)
    np.testing.assert_allclose(seen.unit_p.sum(axis=1)[solved], lost.real[solved], atol=1e-6)
    np.testing.assert_allclose(seen.unit_q.sum(axis=1)[solved], lost.imag[solved], atol=1e-6)


def test_hostile_orders_never_break_a_state(world: World) -> None:
    rng = np.random.default_rng(9)
    grid, fleet, batch = world.case.grid, world.fleet, 64
    state = reset(world, rng, batch=batch)
    for _ in range(60):
        orders = Orders(
            set_busbar=rng.choice(np.arange(-3, 5), (batch, grid.n_terminal), p=_MOSTLY_NONE)
            .astype(np.int8),
            set_line=rng.choice([-1, 0, 1, 7], (batch, grid.n_branch), p=[0.02, 0.95, 0.02, 0.01])
            .astype(np.int8),
            redispatch=rng.choice([0.0, 1e-3, -1e-3, np.inf, np.nan], (batch, fleet.n_gen),
                                  p=[0.8, 0.09, 0.09, 0.01, 0.01]),
            curtail=np.where(fleet.renewable, rng.uniform(-0.05, 1.05, (batch, fleet.n_gen)),
                             np.nan),
        )  # fmt: skip
        state, _ = step(world, state, orders)
        run = state.running
        assert np.isin(state.busbar, (0, 1, 2)).all()
        for counts in (state.line_cooldown, state.substation_cooldown, state.overflow):
            assert (counts >= 0).all()
        for values in (state.rho, state.p, state.s_from, state.actual, state.set_point):
            assert np.isfinite(values[run]).all()
        if not run.any():
            state = reset(world, rng, batch=batch)


_MOSTLY_NONE = [0.002, 0.002, 0.002, 0.97, 0.01, 0.01, 0.002, 0.002]
