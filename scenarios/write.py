"""A world as a scenario on disk: a TOML file, a grid and tables, that load as the same world."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gridrl.arrays import Bools
from gridrl.env.series import Series
from gridrl.env.world import World, worth_splitting
from gridrl.errors import ScenarioError
from gridrl.io.native import save
from scenarios.fleet import write_fleet
from scenarios.tables import write_series

FILE = "scenario.toml"


def write_world(
    world: World, folder: Path, *, title: str, family: str = "own", test_episodes: int = 0
) -> Path:
    """Write a world into a folder; `scenarios.load` of the path returned plays it again.

    Everything is kept: two-ports and powers to the last digit, forecasts, outages, ramps, storage,
    rules, opponent and areas. Values are in MW there, so that powers that were never in single
    precision may differ in the last digit of double precision.

    Raises
    ------
    ScenarioError
        The folder cannot be written, or substations may be split in a way that no file can say.
    """
    try:
        (folder / "series").mkdir(parents=True, exist_ok=True)
        save(world.case, folder / "grid.npz")
        write_series(world.case, world.series, folder / "series")
        write_fleet(world.case, world.fleet, folder / "generators.csv", folder / "storage.csv")
        lines = [
            f"title = {json.dumps(title)}", f"family = {json.dumps(family)}", "",
            "[grid]", 'case = "grid.npz"', f'split = "{_split(world)}"', "",
            "[series]", 'tables = "series"', f"test_episodes = {test_episodes}", "",
            "[fleet]", 'generators = "generators.csv"',
            *(['storage = "storage.csv"'] if world.fleet.n_storage else []), "",
            "[rules]",
            *(f"{name} = {json.dumps(value)}" for name, value in asdict(world.rules).items()),
            *_opponent(world), *_areas(world),
            *_outages(world, world.series, world.series.maintenance, "maintenance"),
            *_outages(world, world.series, world.series.hazard, "hazard"),
        ]  # fmt: skip
        (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as broken:
        raise ScenarioError(f"{folder} cannot be written: {broken.strerror}.") from broken
    return folder / FILE


def _split(world: World) -> str:
    may = np.flatnonzero(world.splits[: world.case.grid.n_substation])
    if np.array_equal(may, np.flatnonzero(~world.case.grid.is_star)):
        return "all"
    if np.array_equal(may, worth_splitting(world.case)):
        return "usual"
    raise ScenarioError(
        f"{world.case.grid.name} may be split at {may.size} substations, which a scenario file "
        "cannot say. Build the world with split=None, or with all substations."
    )


def _opponent(world: World) -> list[str]:
    foe, grid = world.opponent, world.case.grid
    if not foe.exists:
        return []
    element = [int(grid.branch_element[k]) for k in foe.lines]
    weight = dict(zip(element, foe.weight.tolist(), strict=True))
    texts = [f"{grid.element_kind[e]}:{grid.element_id[e]}" for e in weight]
    return [
        "", "[opponent]", f"elements = {json.dumps(texts)}",
        f"weights = {json.dumps(list(weight.values()))}",
        *(f"{name} = {json.dumps(getattr(foe, name))}" for name in (
            "by_loading", "period", "duration", "cooldown", "budget", "budget_per_step")),
    ]  # fmt: skip


def _areas(world: World) -> list[str]:
    grid = world.case.grid
    of_bus = world.area[grid.bus_substation]
    numbers = np.unique(of_bus)
    if numbers.size == 1:
        return []
    return [
        "", "[areas]",
        *(
            f"area_{k} = {json.dumps([grid.bus_id[b] for b in np.flatnonzero(of_bus == number)])}"
            for k, number in enumerate(numbers)
        ),
    ]  # fmt: skip


def _outages(world: World, series: Series, out: Bools, kind: str) -> list[str]:
    """Entries of the stretches in which an element is out."""
    lines: list[str] = []
    if not out.any():
        return lines
    grid, seen = world.case.grid, set()
    for k in np.flatnonzero(out.any(axis=0)).tolist():
        e = int(grid.branch_element[k])
        if e in seen:
            continue
        seen.add(e)
        for episode in range(series.n_episode):
            column = out[series.start[episode] : series.start[episode + 1], k].astype(np.int8)
            edges = np.diff(column, prepend=0, append=0)
            first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            for begin, end in zip(first.tolist(), last.tolist(), strict=True):
                lines += [
                    "", f"[[{kind}]]",
                    f"element = {json.dumps(f'{grid.element_kind[e]}:{grid.element_id[e]}')}",
                    f"episode = {episode}", f"first_step = {begin}", f"steps = {end - begin}",
                ]  # fmt: skip
    return lines
