"""Checks that a plug-in runs on itself: whatever is registered here has passed them.

>>> from gridrl.testing import check_policy
>>> check_policy("reconnect", worlds=["ieee5"])
"""

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

import numpy as np

from gridrl.env.choices import Choices, all_choices
from gridrl.env.simulate import taken
from gridrl.env.state import Ending, Orders, State
from gridrl.env.step import check_orders, copied, reset, step
from gridrl.env.world import World
from gridrl.errors import PolicyError, ScenarioError
from gridrl.policies.policy import OTHER, PARTS, Decision, Policy
from gridrl.policies.registry import parse

SEED = 5  # of the draws that policies get: the same for calls that must agree
WORLDS = ("ieee5", "ieee14")  # two grids: a policy may not be made for one
ARRAYS = {
    "number": "iu", "active": "b", "candidates": "iu", "solves": "iu", "before": "f", "after": "f",
    "after_outage": "f",
}  # fmt: skip


def check_policy(
    policy: Policy | str,
    *,
    worlds: Sequence[World | str] = WORLDS,
    batch: int = 4,
    steps: int = 6,
    refusals: bool = False,
) -> None:
    """Hold a policy against what `gridrl.policies.Policy` promises.

    It plays the first ``steps`` of ``batch`` episodes on each grid, with disturbances: lines are
    open, substations split and cooldowns running. It must return a whole `Decision` whose orders
    the rules allow, leave the state alone, decide the same when asked again and whatever shares
    its batch, and give the orders that its numbers mean.

    Parameters
    ----------
    policy
        A policy, or the text that ``gridrl evaluate --policy`` takes.
    worlds
        Worlds, or names and paths of scenarios.
    refusals
        Whether it may give orders that the rules refuse.

    Raises
    ------
    PolicyError
        Saying what the policy does otherwise, where and in which state.
    """
    made = parse(policy) if isinstance(policy, str) else policy
    if not isinstance(made, Policy):
        raise PolicyError(f"{type(made).__name__} is no policy: it needs a name and decide().")
    if not made.name:
        raise PolicyError(f"{type(made).__name__} has no name; give it the one it is loaded by.")
    for given in worlds:
        world = _scenario(given).world() if isinstance(given, str) else given
        _check_on(made, world, batch, steps, refusals)


def _check_on(policy: Policy, world: World, batch: int, steps: int, refusals: bool) -> None:
    choices, rng = all_choices(world), np.random.default_rng(SEED)
    where = f"Policy {policy.name} on {world.case.grid.name}"
    episode = np.arange(batch) % world.series.n_episode
    state = reset(world, rng, episode=episode)
    for k in range(steps):
        state = _disturbed(world, choices, state, rng) if k % 2 == 0 else state
        state = taken(state, np.flatnonzero(state.running))
        if not state.batch:
            break
        place = f"{where}, step {k}"
        decision = _decided(policy, world, choices, state, place)
        _check_alone(policy, world, choices, state, decision, place)
        state, outcome = step(world, state, decision.orders)
        if outcome.verdict.any() and not refusals:
            b = int(np.flatnonzero(outcome.verdict)[0])
            kind = ("ambiguous", "illegal")[int(outcome.verdict[b]) - 1]
            raise PolicyError(
                f"{place}: the orders to state {b} are {kind} ({decision.reason[b] or 'no reason'})"
                ". Choose among choices.allowed(world, state)."
            )


def _disturbed(world: World, choices: Choices, state: State, rng: np.random.Generator) -> State:
    """A step further with random orders, where the grid lives on."""
    may = choices.allowed(world, state)
    number = np.array([int(rng.choice(np.flatnonzero(row))) for row in may])
    after, _ = step(world, state, choices.orders(state, number))
    idle, _ = step(world, state)
    keep = after.running[:, None]
    return State(
        **{
            f.name: np.where(
                keep if getattr(after, f.name).ndim == 2 else keep[:, 0],
                getattr(after, f.name), getattr(idle, f.name),
            )
            for f in fields(State)
        }
    )  # fmt: skip


def _decided(policy: Policy, world: World, choices: Choices, state: State, place: str) -> Decision:
    """What the policy decides, checked by itself."""
    before = copied(state)
    found = policy.decide(world, choices, state, np.random.default_rng(SEED))
    for field in fields(State):
        if not np.array_equal(
            getattr(before, field.name), getattr(state, field.name), equal_nan=True
        ):
            raise PolicyError(
                f"{place}: decide() changed {field.name} of the state. Copy it first."
            )
    if not isinstance(found, Decision):
        raise PolicyError(f"{place}: decide() returned {type(found).__name__}, not a Decision.")
    for name, kind in ARRAYS.items():
        value = np.asarray(getattr(found, name))
        if value.shape != (state.batch,) or value.dtype.kind not in kind:
            raise PolicyError(
                f"{place}: {name} has shape {value.shape} and type {value.dtype}; expected "
                f"({state.batch},) and a number of kind '{kind}'."
            )
    if len(found.reason) != state.batch or not all(isinstance(x, str) for x in found.reason):
        raise PolicyError(f"{place}: reason must be {state.batch} texts.")
    try:
        check_orders(world, state.batch, found.orders)
    except ScenarioError as wrong:
        raise PolicyError(f"{place}: {wrong}") from wrong
    _check_numbers(choices, state, found, place)
    return found


def _check_numbers(choices: Choices, state: State, found: Decision, place: str) -> None:
    """A number says which orders: those of the choice, or none."""
    bad = (found.number < OTHER) | (found.number >= len(choices))
    if bad.any():
        raise PolicyError(
            f"{place}: there is no order {found.number[bad][0]}; numbers go from -1 (an order "
            f"without one) to {len(choices) - 1}."
        )
    meant = choices.orders(state, np.maximum(found.number, 0))
    for name in PARTS:
        got, want = (_asked(orders, name, state.batch) for orders in (found.orders, meant))
        counts = found.number != OTHER
        for b in np.flatnonzero(counts).tolist():
            if got[b] != want[b]:
                raise PolicyError(
                    f"{place}: state {b} has order {found.number[b]}, which is to "
                    f"{choices.words[max(int(found.number[b]), 0)]}, but {name} asks for something "
                    "else. Build orders with choices.orders, or number them -1."
                )


def _asked(orders: Orders, name: str, batch: int) -> list[dict[int, float]]:
    """What a part of orders asks for in each state, by place."""
    value = getattr(orders, name)
    if value is None:
        return [{} for _ in range(batch)]
    asks = ~np.isnan(value) if name == "curtail" else value != 0
    return [
        {int(k): float(row[k]) for k in np.flatnonzero(a)}
        for row, a in zip(value, asks, strict=True)
    ]


def _check_alone(
    policy: Policy, world: World, choices: Choices, state: State, whole: Decision, place: str
) -> None:
    """Decisions must be the same again, and for each state alone."""
    for which in (np.arange(state.batch), np.arange(state.batch)[::-1][: state.batch - 1]):
        if not which.size:
            continue
        part = policy.decide(world, choices, taken(state, which), np.random.default_rng(SEED))
        everything = which.size == state.batch
        for name in PARTS:
            a = _asked(part.orders, name, which.size)
            b = _asked(whole.orders, name, state.batch)
            if a != [b[int(k)] for k in which]:
                why = (
                    "the second time it is asked. Keep nothing between calls, draw from rng alone."
                    if everything
                    else "when others share its batch. Draw once for each call, see "
                    "gridrl.policies.rules.drawn."
                )
                raise PolicyError(f"{place}: {name} differs {why}")


def check_scenario(source: str, *, steps: int = 12) -> None:
    """Hold a scenario against what it says, and play it for a few steps without orders.

    Packs have the hashes that are frozen, share no episode, and are the same when loaded again;
    every episode begins with a power flow; the same seed gives the same grid.

    Parameters
    ----------
    source
        Name of a scenario, or path of its file.

    Raises
    ------
    ScenarioError
        Saying what is otherwise.
    """
    scenario = _scenario(source)
    scenario.verify()
    if scenario.digest != _scenario(source).digest:
        raise ScenarioError(f"{source}: its series differ when it is loaded again.")
    world = scenario.world()
    series = world.series
    if not (np.isfinite(series.p).all() and np.isfinite(series.q).all()):
        raise ScenarioError(f"{source}: its series hold values that are not finite.")
    made = [
        reset(world, np.random.default_rng(SEED), episode=np.arange(series.n_episode))
        for _ in range(2)
    ]
    dark = np.flatnonzero(~made[0].running)
    if dark.size:
        ending = Ending(int(made[0].ending[dark[0]])).name
        raise ScenarioError(
            f"{source}: {dark.size} of {series.n_episode} episodes begin without a power flow, "
            f"episode {dark[0]} is {ending}. Lower its loads."
        )
    for _ in range(steps):
        made = [step(world, state)[0] for state in made]
    for field in fields(State):
        a, b = (getattr(state, field.name) for state in made)
        if not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            raise ScenarioError(f"{source}: {field.name} differs under the same seed.")


def _scenario(source: str) -> Any:
    # The package of scenarios stands on this one; only its name is known here.
    return import_module("scenarios").load(source)
