"""Stressed cases from a recipe: published grids with ratings by a stated rule, load, an outage.

Several published test grids carry placeholder ratings and never overload. The rule ``n_minus_1``
rates every branch by the highest current that it carries at the file's own load, intact and after
every loss of one branch or generator, times a margin drawn from the seed: as published the grid is
N-1 secure.
Then load and generation are scaled and elements fail, and it is no longer.
"""

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gridrl.case import Case
from gridrl.edit import open_elements, scale_load
from gridrl.errors import CaseError
from gridrl.grid import Bools, Floats, Topology
from gridrl.io import load
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.security.contingency import n_minus_1

CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Stress:
    """How a stressed case is made."""

    case: str
    load_scale: float = 1.0  # of every load; generators other than the reference follow
    outage: tuple[str, ...] = ()  # elements out of service
    ratings: Literal["file", "n_minus_1"] = "n_minus_1"
    margin_low: float = 1.0
    margin_high: float = 1.15
    floor: float = 0.5  # least rating, of the median one
    seed: int = 0  # of the margins


def read_stress(path: Path) -> Stress:
    """Read a recipe from a TOML file.

    Raises
    ------
    CaseError
        The file cannot be read, or a value is unknown or impossible.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise CaseError(f"Cannot read the stressed case {path.name}: {broken}.") from None
    return stress_of(table, path.name)


def stress_of(table: dict[str, Any], where: str) -> Stress:
    """The recipe in a table."""
    known = {field.name for field in fields(Stress)}
    unknown = sorted(set(table) - known)
    if unknown or "case" not in table:
        said = f"unknown: {', '.join(unknown)}" if unknown else "'case' is missing"
        raise CaseError(f"{where}: {said}. A stressed case has: {', '.join(sorted(known))}.")
    try:
        made = Stress(**{**table, "outage": tuple(table.get("outage", ()))})
        numbers = (made.load_scale, made.margin_low, made.margin_high, made.floor)
        fits = all(math.isfinite(x) and 0.0 < x < 100.0 for x in numbers)
        fits &= type(made.seed) is int and 0 <= made.seed < 2**63
        fits &= not any(isinstance(x, bool) for x in numbers)
        fits &= all(isinstance(name, str) for name in made.outage)
    except TypeError as wrong:
        raise CaseError(f"{where}: {wrong}.") from None
    if not fits or made.ratings not in ("file", "n_minus_1") or made.margin_high < made.margin_low:
        raise CaseError(
            f"{where}: scales, margins and floor must be positive, margin_high at least "
            "margin_low, seed a whole number, outage a list of names, and ratings 'file' or "
            "'n_minus_1'."
        )
    return made


def told(stress: Stress) -> str:
    """The recipe in a sentence."""
    parts = [f"load x {stress.load_scale:g}"]
    if stress.outage:
        parts.append(f"{', '.join(stress.outage)} out of service")
    if stress.ratings == "n_minus_1":
        parts.append(
            f"ratings from N-1 currents x {stress.margin_low:g} to {stress.margin_high:g} "
            f"(seed {stress.seed})"
        )
    return f"Stressed: {'; '.join(parts)}."


def stressed_case(stress: Stress) -> Case:
    """Make the case.

    Raises
    ------
    CaseError
        The published grid has no power flow to take ratings from.
    """
    return stressed(load(stress.case), stress)


def stressed(case: Case, stress: Stress) -> Case:
    """A case made worse by a recipe, whichever case that names.

    Raises
    ------
    CaseError
        The case has no power flow to take ratings from.
    ElementError
        An outage names what the case does not have.
    """
    if stress.ratings == "n_minus_1":
        case = rated(case, stress)
    case = scale_load(case, stress.load_scale)
    p = case.injection.p * np.where(_follows(case), stress.load_scale, 1.0)
    case = replace(case, injection=replace(case.injection, p=p))
    return open_elements(case, stress.outage)


def _follows(case: Case) -> Bools:
    grid = case.grid
    feeds = [kind not in DEMAND_KINDS and kind != "shunt" for kind in grid.unit_kind]
    return np.array(feeds, np.bool_) & ~grid.is_reference


def rated(case: Case, stress: Stress) -> Case:
    """The case with every branch rated by the rule ``n_minus_1``."""
    grid = case.grid
    engine = prepare(case)
    base = engine.flow()
    if not base.solved()[0]:
        raise CaseError(f"{case.grid.name} has no power flow, so no ratings follow from it.")
    highest = np.nan_to_num(np.maximum(*base.current()))
    b_of, branch, u_of, unit = n_minus_1(case).members(grid)
    n = b_of.size - 1
    for begin in range(0, n, CHUNK):
        which = range(begin, min(begin + CHUNK, n))
        closed = np.repeat(case.topology.closed, len(which), axis=0)
        busbar = np.repeat(case.topology.busbar, len(which), axis=0)
        for row, k in enumerate(which):
            closed[row, branch[b_of[k] : b_of[k + 1]]] = False
            busbar[row, 2 * grid.n_branch + unit[u_of[k] : u_of[k + 1]]] = 0
        result = engine.flow(Topology(busbar=busbar, closed=closed))
        for state in np.flatnonzero(result.solved()).tolist():
            highest = np.maximum(highest, np.nan_to_num(np.maximum(*result.current(state))))
    rng = np.random.default_rng(stress.seed)
    margin: Floats = rng.uniform(stress.margin_low, stress.margin_high, grid.n_branch)
    rating = np.maximum(highest * margin, stress.floor * np.median(highest))
    unlimited = np.full(grid.n_branch, np.inf)
    new = replace(grid, i_max_from=rating, i_max_to=rating, s_max=unlimited)
    note = "Ratings are not those of the file: highest N-1 current of the published state x margin."
    return replace(case, grid=new, notes=(*case.notes, note))
