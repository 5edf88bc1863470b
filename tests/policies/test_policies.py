"""Policies on small grids: legal orders, promises kept, and other programs' words for it."""

from dataclasses import replace

import numpy as np
import pytest

import scenarios
from gridrl import policies
from gridrl.env.choices import all_choices
from gridrl.env.opponent import NOBODY
from gridrl.env.simulate import compare, simulate, taken
from gridrl.env.step import reset, step
from gridrl.env.world import World
from gridrl.errors import PolicyError
from gridrl.opf.registry import solve
from gridrl.policies.dispatch_case import as_case, as_orders, movable
from gridrl.policies.outages import after_outages
from gridrl.policies.policy import OTHER, worst_loading
from gridrl.policies.registry import OURS, described
from gridrl.security import n_minus_1, security


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.load("ieee14").world()


def tight(world: World, factor: float) -> World:
    """The same with lower ratings, so that something has to be done."""
    grid = world.case.grid
    return replace(
        world,
        case=replace(
            world.case,
            grid=replace(
                grid, i_max_from=grid.i_max_from * factor, i_max_to=grid.i_max_to * factor,
                s_max=grid.s_max * factor,
            ),
        ),
    )  # fmt: skip


@pytest.mark.slow  # compiles the optimal power flow
@pytest.mark.parametrize("name", OURS)
def test_orders_are_legal_and_do_what_was_expected(world: World, name: str) -> None:
    played, choices = tight(world, 0.7), all_choices(world)
    policy, rng = policies.load(name), np.random.default_rng(0)
    state = reset(played, rng, episode=np.arange(3))
    for _ in range(6):
        state = taken(state, np.flatnonzero(state.running))
        if not state.batch:
            break
        decision = policy.decide(played, choices, state, rng)
        expected, _ = simulate(played, state, decision.orders)
        known = np.isfinite(decision.after)
        np.testing.assert_allclose(
            worst_loading(expected)[known], decision.after[known], rtol=0, atol=1e-6
        )
        state, outcome = step(played, state, decision.orders)
        assert not outcome.verdict.any()


def test_what_is_decided_does_not_depend_on_the_batch(world: World) -> None:
    played, choices = tight(world, 0.7), all_choices(world)
    for name in ("random", "greedy"):
        policy = policies.load(name)
        state = reset(played, np.random.default_rng(0), episode=np.arange(4))
        together = policy.decide(played, choices, state, np.random.default_rng(1))
        for b in range(4):
            alone = policy.decide(
                played, choices, taken(state, np.array([b])), np.random.default_rng(1)
            )
            assert alone.number[0] == together.number[b]


def test_greedy_finds_the_best_of_all_orders(world: World) -> None:
    played, choices = tight(world, 0.6), all_choices(world)
    state = reset(played, np.random.default_rng(0), episode=np.arange(1))
    policy = policies.load("greedy", threshold=0.1)
    found = policy.decide(played, choices, state, np.random.default_rng(0))
    assert found.number[0] > 0
    lowest = np.inf
    for k in range(len(choices)):  # one by one, without the batch
        after, outcome = simulate(played, state, choices.orders(state, np.array([k])))
        if after.running[0] and not outcome.verdict[0]:
            lowest = min(lowest, float(worst_loading(after)[0]))
    assert found.after[0] == pytest.approx(lowest, abs=1e-6)


def test_outages_agree_with_the_security_sweep(world: World) -> None:
    state = reset(world, np.random.default_rng(0), episode=np.arange(1))
    found = after_outages(world, state)
    injection = replace(
        world.case.injection, p=state.p, q=state.q, v_set=world.series.v_set[state.row]
    )
    kinds = tuple(set(world.case.grid.element_kind))
    branches = tuple(kind for kind in kinds if kind in ("line", "trafo"))
    case = replace(world.case, injection=injection)
    sweep = security(case, contingencies=n_minus_1(case, branches))
    grid = world.case.grid
    for k, elements in enumerate(sweep.contingencies.elements):
        (branch,) = np.flatnonzero(grid.branch_element == elements[0])
        if not found.lost[0, branch]:
            assert found.loading[0, branch] == pytest.approx(sweep.loading[k], abs=1e-5)


@pytest.mark.parametrize(
    "name", ("dc_redispatch", pytest.param("ac_redispatch", marks=pytest.mark.slow), "dc_switching")
)
def test_optimising_policies_act_on_overloads_and_relieve_them(world: World, name: str) -> None:
    played = tight(replace(world, opponent=NOBODY), 0.45)
    choices, rng = all_choices(played), np.random.default_rng(0)
    state = reset(played, rng, episode=np.arange(8), first=150)  # a noon
    decision = policies.load(name).decide(played, choices, state, rng)
    idle, _ = step(played, state)
    after, outcome = step(played, state, decision.orders)
    assert not outcome.verdict.any()
    acted = decision.number == OTHER
    assert acted.sum() >= 5
    assert (worst_loading(idle)[acted] > 0.95).all()
    assert (decision.after < decision.before)[acted].all()
    # in the step itself, whose injections nobody knew before
    gain = (worst_loading(idle) - worst_loading(after))[acted]
    assert (gain > 0).sum() >= acted.sum() - 1
    assert gain.mean() > 0.02
    opened = (state.closed & ~after.closed).sum(axis=1)
    if name == "dc_switching":
        assert (opened[acted] == 1).sum() >= 4
        assert all("open " in decision.reason[b] for b in np.flatnonzero(opened))
    else:
        assert not opened.any()
        moved = np.abs(after.actual - state.actual).max(axis=1) + (after.limit < 1).any(axis=1)
        assert (moved[acted] > 1e-4).all()


def test_a_lossless_model_orders_no_losses_away(world: World) -> None:
    """Where nothing has to be relieved, the optimum is to move nothing."""
    state = reset(world, np.random.default_rng(0), episode=np.arange(1))
    for lossless, solver in ((True, "highs_dc"), (False, "interior_point")):
        move = movable(world, state, 0, 6, lossless=lossless)
        case = as_case(world, state, 0, move, aim=1.0, lossless=lossless)
        found = solve(case, solver, fallback=False)
        assert found.ok
        orders = as_orders(world, move, found.p)
        assert orders.redispatch is None
        assert orders.curtail is None


def test_revert_leads_back_to_the_reference(world: World) -> None:
    world = replace(world, opponent=NOBODY)
    choices, rng = all_choices(world), np.random.default_rng(0)
    state = reset(world, rng, episode=np.arange(1))
    worst = compare(world, state, choices).worst[0]
    worst[choices.substation < 0] = np.inf
    joins = ~(choices.set_busbar == 2).any(axis=1)
    worst[joins] = np.inf
    state, _ = step(world, state, choices.orders(state, np.array([int(worst.argmin())])))
    assert state.running[0]
    assert (state.busbar != world.case.topology.busbar).any()
    for _ in range(8):
        decision = policies.load("revert", ceiling=2.0).decide(world, choices, state, rng)
        state, _ = step(world, state, decision.orders)
    assert (state.busbar == world.case.topology.busbar).all()


@pytest.mark.parametrize(
    ("text", "match"),
    (
        ("greedi", "Did you mean greedy"),
        ("greedy:level=1", "no option 'level'. It has threshold"),
        ("greedy:threshold=-1", "threshold is -1"),
        ("greedy:threshold", "is no option"),
        ("n1_greedy:most=0", "most is 0"),
    ),
)
def test_a_wrong_policy_is_named(text: str, match: str) -> None:
    with pytest.raises(PolicyError, match=match):
        policies.parse(text)


def test_a_policy_is_described_as_it_is_parsed() -> None:
    text = "greedy:threshold=0.9,lines=false"
    assert described(policies.parse(text)) == text
