"""Millions of random steps: no crash, no NaN, no illegal state, memory flat.

    python -m tools.fuzz_environments [STEPS] [SEED]

Plays every scenario that comes along under every profile of rules in turn, with orders that are
allowed, random or nonsense, until STEPS (a million by default) are done. Ends with status 1 at the
first state that is not as it must be, and says which.
"""

import itertools
import resource
import sys
from dataclasses import replace

import numpy as np

import scenarios
from gridrl.env.choices import Choices, all_choices
from gridrl.env.rules import PROFILES
from gridrl.env.state import Orders, State
from gridrl.env.step import reset, step
from gridrl.env.vector import put
from gridrl.env.world import World

BATCH, ROUND = 512, 40  # grids side by side; steps of each before the next scenario has its turn


def orders_of(world: World, choices: Choices, state: State, rng: np.random.Generator) -> Orders:
    """Choices that are allowed, any choices with dispatch, or nonsense."""
    grid, fleet, batch = world.case.grid, world.fleet, state.batch
    kind = rng.integers(3)
    if kind == 0:
        score = rng.random((batch, len(choices))) * choices.allowed(world, state)
        return choices.orders(state, score.argmax(axis=1))
    ramp = np.maximum(fleet.ramp_up, 1e-3)
    power = {
        "redispatch": rng.uniform(-1, 1, (batch, fleet.n_gen)) * ramp
        * (rng.random((batch, fleet.n_gen)) < 0.2) * (fleet.redispatchable if kind == 1 else 1),
        "curtail": np.where(fleet.renewable & (rng.random((batch, fleet.n_gen)) < 0.2),
                            rng.uniform(-0.05 * (kind - 1), 1, (batch, fleet.n_gen)), np.nan),
        "storage": rng.uniform(-0.1, 0.1, (batch, fleet.n_storage)),
    }  # fmt: skip
    if kind == 1:
        return replace(choices.orders(state, rng.integers(len(choices), size=batch)), **power)
    rare = [0.002, 0.99, 0.003, 0.003, 0.002]
    busbar = rng.choice(np.arange(-1, 4, dtype=np.int8), (batch, grid.n_terminal), p=rare)
    line = rng.choice(np.arange(-2, 3, dtype=np.int8), (batch, grid.n_branch), p=rare[::-1])
    return Orders(set_busbar=busbar, set_line=line, **power)


def wrong(world: World, state: State) -> list[str]:
    """What is not as it must be."""
    run, fleet = state.running, world.fleet
    out = [
        name
        for name in ("rho", "p", "q", "s_from", "s_to", "actual", "target", "set_point", "charge")
        if not np.isfinite(getattr(state, name)[run]).all()
    ]
    out += [
        name
        for name in ("overflow", "protection", "line_cooldown", "substation_cooldown")
        if (getattr(state, name) < 0).any()
    ]
    charge = state.charge[run]
    checks = {
        "busbar": np.isin(state.busbar, (0, 1, 2)).all(),
        "busbar 2 where there is none": not (
            (state.busbar == 2) & ~world.splits[world.places[0]]
        ).any(),
        "ending": np.isin(state.ending, range(5)).all(),
        "row": (state.row <= state.last).all() and (state.row >= state.first).all(),
        "charge within limits": (
            (charge >= -1e-9) & (charge <= fleet.energy_max + 1e-9)
        ).all(),
        "limit": ((state.limit >= 0) & (state.limit <= 1)).all(),
        "loading of an open line": not state.rho[run][~state.closed[run]].any(),
    }  # fmt: skip
    return out + [name for name, fine in checks.items() if not fine]


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(most: int, seed: int) -> int:
    """Play until ``most`` steps are done; returns the exit status."""
    done, ended, rounds = 0, np.zeros(5, np.int64), 0
    worlds = []
    for name, profile in itertools.product(scenarios.names(), PROFILES):
        world = scenarios.load(name).world()
        worlds.append((name, profile, replace(world, rules=PROFILES[profile]), all_choices(world)))
    for name, profile, world, choices in itertools.cycle(worlds):
        rng = np.random.default_rng([seed, rounds])
        state = reset(world, rng, batch=BATCH)
        for _ in range(ROUND):
            state, _ = step(world, state, orders_of(world, choices, state, rng))
            found = wrong(world, state)
            if found:
                print(f"{name}, {profile}, round {rounds}: wrong {', '.join(found)}")
                return 1
            over = np.flatnonzero(~state.running)
            ended += np.bincount(state.ending, minlength=5) * (np.arange(5) > 0)
            if over.size:
                state = put(state, over, reset(world, rng, batch=over.size))
        done, rounds = done + BATCH * ROUND, rounds + 1
        if rounds % len(worlds) == 0 or done >= most:
            print(f"{done:,} steps, endings {ended.tolist()}, peak {memory_mb():.0f} MB")
        if done >= most:
            return 0
    return 0


if __name__ == "__main__":
    given = [int(float(one)) for one in sys.argv[1:3]]
    sys.exit(main(*given, *(1_000_000, 0)[len(given) :]))
