"""The suite ``irl``: Turbo-IRL beside nine other methods, and what its messages are worth.

A row is one world of one cell of the sweep (`irl.sweep.run`); it is written as soon as it is done,
and the next run goes on from there. The document's head holds what is not rows: the fixed point
against the joint fit, the coverage of intervals, the speed, operators of a grid, and the cells
with their intervals.
"""

import hashlib
import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.bench.contender import checkout
from gridrl.bench.document import document, write
from gridrl.bench.irl_cells import cells, grid_cells, grid_targets, targets
from gridrl.bench.irl_speed import speed
from gridrl.errors import CaseError

Row = dict[str, Any]
SUITE = "irl"
# What the rows depend on; the hash of these decides whether rows of an earlier run may stay.
SOURCES = (
    "agent baselines deep evidence fusion gridworld joint kernels_soft likelihood maxent mdp "
    "messages metrics priors soft_vi sweep turbo"
).split()


def suite() -> dict[str, Any]:
    """The settings in ``benchmarks/suites/irl.toml``."""
    with (checkout() / "suites" / f"{SUITE}.toml").open("rb") as file:
        return tomllib.load(file)


def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    kept: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[float, str], None] = lambda _share, _now: None,
) -> dict[str, Any]:
    """The document of the whole suite.

    Parameters
    ----------
    quick : bool
        Two cells, three seeds, no coverage.
    seeds : int
        Worlds of each cell; 20 by default.
    kept : Path
        A file that grows by one line per row. Rows that it already has are not run again if the
        code that made them is the same. Ctrl-C ends the sweep; what is finished is judged.
    """
    settings = suite()
    number = seeds or (3 if quick else int(settings["seeds"]))
    if number < 1:
        raise CaseError("--seeds must be at least 1.")
    sweep: Any = import_module("irl.sweep")
    made_by = _fingerprint()
    done = _read(kept, made_by) if kept else {}
    chosen = settings["quick" if quick else "full"]
    todo = [
        (sweep.Cell(kind=kind, overlap=overlap, demonstrations=tuple(episodes)), seed)
        for episodes in chosen["demonstrations"]
        for seed in range(settings["seed"], settings["seed"] + number)
        for kind, overlap in product(chosen["kinds"], chosen["overlaps"])
    ]
    rows, note = [], "quick" if quick else ""
    try:
        for count, (cell, seed) in enumerate(todo):
            key = f"{cell.name} {seed}"
            progress(count / len(todo), key)
            if key not in done:
                done[key] = sweep.run(cell, seed)
                if kept:
                    _keep(kept, {"made_by": made_by, "key": key, "row": done[key]})
            rows.append(done[key])
    except KeyboardInterrupt:
        note = f"cut short: {len(rows)} of {len(todo)} worlds"
    if not rows:
        raise CaseError("No world is finished yet, so there is nothing to show.")
    say("irl: fixed point, coverage, speed, grid")
    made = document(SUITE, [], seed=settings["seed"], note=note)
    made |= _exchange(settings, quick=quick)
    made |= _judged(rows, _grid(settings, number, quick=quick))
    return made | {"rows": rows}


def _exchange(settings: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """What speaks of the exchange itself, and its speed."""
    checks: Any = import_module("irl.checks")
    seed, worlds = settings["seed"], 20 if quick else settings["worlds"]
    point = checks.fixed_point(np.random.default_rng(seed))
    ours = checks.coverage90(worlds, np.random.default_rng(seed))
    twice = checks.coverage90(worlds, np.random.default_rng(seed), counting_twice=True)
    return {
        "fixed_point": asdict(point),
        "coverage90": ours[0], "coverage90_error": ours[1],
        "coverage90_double_counting": twice[0], "coverage90_double_counting_error": twice[1],
        "speed": [speed(**one) for one in settings["speed"][: 2 if quick else None]],
    }  # fmt: skip


def _grid(settings: dict[str, Any], seeds: int, *, quick: bool) -> list[Row]:
    """Planted operators of a grid; rows of all worlds."""
    if quick:
        return []
    study: Any = import_module("irl.grid_study")
    given = settings["grid"]
    places = study.situations(
        given["scenario"], max(given["decisions"]), given["held_out"],
        np.random.default_rng(settings["seed"]),
    )  # fmt: skip
    return [
        study.run(places, seed, decisions=given["decisions"], spread=spread, demonstrator=who)
        for who, spread in product(given["demonstrators"], given["spreads"])
        for seed in range(settings["seed"], settings["seed"] + seeds)
    ]


def _judged(rows: list[Row], grid: list[Row]) -> dict[str, Any]:
    """Means over worlds, and what was aimed at."""
    found, on_grid = cells(rows), grid_cells(grid)
    return {
        "targets": targets(found, rows) + grid_targets(on_grid), "gridworld": found,
        "grid": on_grid,
    }  # fmt: skip


def _keep(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _read(path: Path, made_by: str) -> dict[str, Row]:
    """Finished rows that the same code has made."""
    if not path.is_file():
        return {}
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while writing it
        if isinstance(entry, dict) and entry.get("made_by") == made_by:
            rows[str(entry["key"])] = entry["row"]
    return rows


def _fingerprint() -> str:
    """Hash of the sources that rows depend on."""
    sha = hashlib.sha256()
    folder = Path(str(sys.modules["irl"].__file__)).parent
    for name in SOURCES:
        sha.update((folder / f"{name}.py").read_bytes())
    return sha.hexdigest()[:16]


def save(folder: Path, made: dict[str, Any]) -> None:
    """Write irl.json, irl.md and irl.svg."""
    from gridrl.bench.irl_render import draw, tables

    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{SUITE}.json", made)
    (folder / f"{SUITE}.md").write_text(tables(made), encoding="utf-8")
    draw(made["gridworld"], folder / f"{SUITE}.svg")
