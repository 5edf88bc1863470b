"""A small world that several modules play."""

from dataclasses import replace

import numpy as np
import pytest

import scenarios
from gridrl.env.opponent import Opponent
from gridrl.env.world import World


@pytest.fixture(scope="session")
def world() -> World:
    """IEEE 14 with wind, sun, cooldowns and an opponent that begins at once."""
    made = scenarios.load("ieee14").world()
    return replace(
        made,
        opponent=Opponent(
            lines=np.array([2, 3, 4]), weight=np.array([1.0, 2.0, 1.0]), duration=10, cooldown=30,
            budget=10.0, budget_per_step=0.5,
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def peaceful(world: World) -> World:
    """The same without an opponent, and with lines that never trip."""
    return replace(
        world,
        opponent=scenarios.load("ieee5").world().opponent,
        rules=replace(world.rules, overflow_trips=False),
    )
