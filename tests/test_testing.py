"""The checks for plug-ins: ours pass them, and each promise that is broken is named."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import scenarios
from gridrl.env.choices import Choices
from gridrl.env.state import Orders, State
from gridrl.env.world import World
from gridrl.errors import PolicyError, ScenarioError
from gridrl.policies.policy import OTHER, Decision, nothing, numbered
from gridrl.policies.registry import OURS
from gridrl.testing import check_policy, check_scenario

QUICK = ("do_nothing", "reconnect", "revert", "random", "greedy", "n1_greedy:most=5", "learned:k=3")


@pytest.mark.parametrize("name", QUICK)
def test_our_policies_keep_their_promises(name: str) -> None:
    check_policy(name)


@pytest.mark.slow  # solves optimal power flows
@pytest.mark.parametrize("name", sorted(set(OURS) - {name.partition(":")[0] for name in QUICK}))
def test_our_optimising_policies_keep_their_promises(name: str) -> None:
    check_policy(name)


@dataclass
class Odd:
    """A policy that breaks one promise."""

    how: str
    name: str = "odd"
    calls: list[int] = field(default_factory=list)

    def decide(self, world: World, choices: Choices, state: State, rng: np.random.Generator) -> Any:
        may = choices.allowed(world, state)
        number = np.array([np.flatnonzero(row)[-1] for row in may])
        done: Decision = numbered(choices, state, nothing(state), number)
        done = replace(done, reason=("because",) * state.batch)
        self.calls.append(1)
        if self.how == "tuple":
            return done.orders, done.number
        if self.how == "short":
            return replace(done, number=number[:1])
        if self.how == "text":
            return replace(done, reason="because")
        if self.how == "changes":
            state.rho[:] = 0.0
        if self.how == "remembers":
            return numbered(choices, state, done, number * (len(self.calls) % 2))
        if self.how == "together":
            return numbered(choices, state, done, number * (state.batch == 4))
        if self.how == "dice":
            return numbered(choices, state, done, number * (rng.random(state.batch) < 0.5))
        if self.how == "illegal":
            two = np.zeros(state.closed.shape, np.int8)
            two[:, :2] = -1
            return replace(done, orders=Orders(set_line=two), number=np.full(state.batch, OTHER))
        if self.how == "mislabelled":
            return replace(done, number=np.zeros_like(number))
        if self.how == "none":
            return replace(done, number=number + 10**6)
        return replace(done, orders=replace(done.orders, set_line=np.ones((1, 3), np.int8)))


@pytest.mark.parametrize(
    ("how", "says"),
    (
        ("tuple", "returned tuple, not a Decision"),
        ("short", r"number has shape \(1,\)"),
        ("text", "reason must be 4 texts"),
        ("changes", "changed rho of the state"),
        ("remembers", "differs the second time it is asked"),
        ("together", "differs when others share its batch"),
        ("dice", "differs when others share its batch"),
        ("illegal", "are illegal"),
        ("mislabelled", "has order 0, which is to do nothing"),
        ("none", "there is no order 10000"),
        ("shape", "set_line has shape"),
    ),
)
def test_a_broken_promise_is_named(how: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        check_policy(Odd(how), worlds=["ieee5"])


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(PolicyError, match="dict is no policy"):
        check_policy({})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ("ieee5", "ieee14"))
def test_our_scenarios_are_what_they_say(name: str) -> None:
    check_scenario(name)


def test_a_scenario_that_cannot_begin_is_named(tmp_path: Any) -> None:
    path = tmp_path / "heavy.toml"
    path.write_text(
        '[grid]\ncase = "case14"\n[series]\nepisodes = 2\ndays = 0.1\nload_peak = 9.0\n'
    )
    assert scenarios.load(path).name == "heavy"
    with pytest.raises(ScenarioError, match="2 of 2 episodes begin without a power flow"):
        check_scenario(str(path))
