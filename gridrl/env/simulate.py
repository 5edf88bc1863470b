"""What an order would lead to: steps that are tried, not taken.

A simulated step follows the rules of a real one, cascades included, with the injections of now or
those that are forecast. It knows what operators know: planned maintenance and an attack that goes
on, but no hazard and no attack to come. Many orders to many states are one batch.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.observe import facts_of
from gridrl.env.state import Bytes, Ending, Orders, Outcome, State
from gridrl.env.step import NOTHING, Course, advance, check_orders
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.grid import Injection
from gridrl.rewards import RewardFn

SIDE_BY_SIDE = 1024  # simulated states that `compare` keeps at a time: they stay in the caches


def simulate(
    world: World,
    state: State,
    orders: Orders = NOTHING,
    *,
    of: Ints | None = None,
    ahead: int = 1,
    injection: Injection | None = None,
) -> tuple[State, Outcome]:
    """The states that orders would lead to.

    Parameters
    ----------
    orders
        n orders, refused where the rules refuse them: then nothing is done in that state.
    of
        [n] state of the batch that each order goes to; by default one order for each.
    ahead
        How many steps away the order is carried out: 0 is now, with the injections as they are;
        1 the next step. Cooldowns, attacks and maintenance move on as far, and a line that is
        overloaded now counts as overloaded until then.
    injection
        [B, n_unit] or [1, n_unit] to load the grids with instead of the forecast (its voltages
        included): scenarios, quantiles of a forecast, a model of one's own.

    Returns
    -------
    after : State [n]
        RUNNING where there is a power flow; an episode is never over because its series ends.
    outcome : Outcome [n]

    Raises
    ------
    ScenarioError
        Shapes do not fit, a state is none of the batch, or forecasts do not reach that far.
    """
    every = np.arange(state.batch) if of is None else np.asarray(of, np.int64).reshape(-1)
    if every.size and not 0 <= every.min() <= every.max() < state.batch:
        raise ScenarioError(f"of names states beyond the batch of {state.batch}.")
    check_orders(world, every.size, orders)
    before = replace(state, **_waited(world, state, ahead))
    after = taken(before, every)
    course = _course(world, state, every, ahead, injection)
    was = replace(after, busbar=after.busbar.copy())
    outcome = advance(world, after, orders, after.running, course, was)
    return after, outcome


def taken(state: State, which: Ints) -> State:
    """Some states of a batch, in arrays of their own; one may be taken several times."""
    return State(**{field.name: getattr(state, field.name)[which] for field in fields(state)})


def _waited(world: World, state: State, ahead: int) -> dict[str, Any]:
    """What has changed by itself when the order is carried out."""
    if ahead == 0:
        return {}
    rules, more = world.rules, ahead - 1
    left = np.maximum(state.attack_left - ahead, 0)
    waited: dict[str, Any] = {
        "row": np.where(state.running, np.minimum(state.row + ahead, state.last), state.row),
        "attack_left": left,
        "attacked": np.where(left > 0, state.attacked, -1).astype(np.int32),
    }
    if more:
        waited |= {
            "line_cooldown": np.maximum(state.line_cooldown - more, 0),
            "substation_cooldown": np.maximum(state.substation_cooldown - more, 0),
            "overflow": state.overflow + more * (state.rho > 1.0).astype(np.int32),
            "protection": state.protection + more * (state.rho > rules.soft_limit).astype(np.int32),
        }
    return waited


def _course(
    world: World, state: State, of: Ints, ahead: int, injection: Injection | None
) -> Course:
    """What the simulated steps run into."""
    if injection is None:
        p, q = world.series.expected(state.row, ahead)
        return Course(p, q, of, world.tables[2], state.row[of], real=False)
    n_unit = world.case.grid.n_unit
    if injection.batch not in (1, state.batch) or injection.p.shape[1] != n_unit:
        raise ScenarioError(
            f"The injection has shape {injection.p.shape}, expected ({state.batch}, {n_unit}) or "
            f"(1, {n_unit})."
        )
    held = injection.v_set[:, world.case.grid.holding_unit]
    if not ((held > 0) & (held < np.inf)).all():
        raise ScenarioError("The injection needs a positive v_set for units that hold voltage.")
    row = of if injection.batch > 1 else np.zeros_like(of)
    return Course(np.array(injection.p), np.array(injection.q), row, held, row, real=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """What each of K choices would lead to in each state of a batch."""

    tried: Bools  # [B, K]
    worst: Floats  # [B, K] largest rho; inf where the grid would be lost, and where not tried
    ending: Bytes  # [B, K] `Ending`
    verdict: Bytes  # [B, K] 0 legal, 1 ambiguous, 2 illegal: then nothing was done
    terms: Floats  # [B, K, n_term] reward terms, no term unless asked for
    solves: int  # power flows that it took

    @property
    def lost(self) -> Bools:
        """[B, K] whether the episode would be over."""
        return np.asarray(self.tried & (self.ending != Ending.RUNNING))


def compare(
    world: World,
    state: State,
    choices: Choices,
    number: Ints | None = None,
    *,
    only: Bools | None = None,
    ahead: int = 1,
    injection: Injection | None = None,
    reward_fn: RewardFn | None = None,
) -> Comparison:
    """Simulate many choices in every state of a batch, without keeping the states.

    Parameters
    ----------
    number
        [K] or [B, K] numbers of `Choices`; all of them by default.
    only
        [B, K] those to try, `Choices.allowed` for instance; all by default.
    ahead, injection
        See `simulate`.
    reward_fn
        Terms to work out.

    Raises
    ------
    ScenarioError
        There is no choice of such a number, or see `simulate`.
    """
    shape = (state.batch, len(choices) if number is None else np.shape(number)[-1])
    number = np.broadcast_to(np.arange(shape[1]) if number is None else number, shape)
    only = np.ones(shape, np.bool_) if only is None else np.asarray(only, np.bool_)
    if only.shape != shape:
        raise ScenarioError(f"only has shape {only.shape}, expected {shape}.")
    n_term = 0 if reward_fn is None else len(reward_fn.names)
    found = Comparison(
        tried=only & state.running[:, None], worst=np.full(shape, np.inf),
        ending=np.repeat(state.ending[:, None], shape[1], axis=1),
        verdict=np.zeros(shape, np.int8), terms=np.zeros((*shape, n_term)), solves=0,
    )  # fmt: skip
    of, column = np.nonzero(found.tried)
    solves = 0
    for first in range(0, of.size, SIDE_BY_SIDE):
        part = (of[first : first + SIDE_BY_SIDE], column[first : first + SIDE_BY_SIDE])
        orders = choices.orders(state, number[part], of=part[0])
        after, outcome = simulate(
            world, state, orders, of=part[0], ahead=ahead, injection=injection
        )
        found.ending[part], found.verdict[part] = after.ending, outcome.verdict
        found.worst[part] = np.where(after.running, after.rho.max(axis=1), np.inf)
        solves += outcome.solves
        if reward_fn is not None:
            before = taken(state, part[0])
            found.terms[part] = reward_fn(facts_of(world, before, after, outcome))
    return replace(found, solves=solves)
