"""A loaded network: its grid, its present switching and loading, and what loading it cost.

Doors in `gridrl.io` make a `Case`; everything above takes one. The loss report says for every
kind of element of the input whether it was kept, mapped to something else, or refused.
"""

import hashlib
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property

import numpy as np

from gridrl.costs import Costs
from gridrl.errors import GridError
from gridrl.grid import Complexes, Grid, Injection, Topology
from gridrl.steps import Steps


class Fate(StrEnum):
    """What became of an element, or of one of its values, on the way in."""

    KEPT = "kept"  # represented exactly
    MAPPED = "mapped"  # represented by something else, without loss for the power flow
    REFUSED = "refused"  # not represented: the results do not contain it
    SUSPECT = "suspect"  # taken as given, but implausible: a unit may be wrong


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One line of the loss report."""

    fate: Fate
    kind: str  # element kind as the input names it: "line", "trafo3w", "switch", "gencost", ...
    count: int  # elements concerned
    note: str  # why, and for MAPPED to what; empty for KEPT
    elements: tuple[str, ...] = ()  # ids of those concerned (REFUSED and SUSPECT: all of them)


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A grid with its switching, its loading and the loss report of the door it came through."""

    grid: Grid
    topology: Topology  # batch of one
    injection: Injection  # batch of one
    report: tuple[ReportRow, ...] = ()
    source: str = ""  # what the user asked for: a name or a path
    origin: str = ""  # program and version that the data came from, e.g. "pandapower 3.5.6"
    notes: tuple[str, ...] = field(default=())  # facts a reader of results must know
    # [n_substation] p.u. voltages of a solved state like this one: where Newton's method begins
    start: Complexes | None = None

    def __post_init__(self) -> None:
        grid = self.grid
        if self.topology.busbar.shape != (1, grid.n_terminal):
            raise GridError(
                f"busbar has shape {self.topology.busbar.shape}, expected (1, {grid.n_terminal})."
            )
        if self.topology.closed.shape != (1, grid.n_branch):
            raise GridError(
                f"closed has shape {self.topology.closed.shape}, expected (1, {grid.n_branch})."
            )
        if self.injection.p.shape != (1, grid.n_unit):
            raise GridError(f"p has shape {self.injection.p.shape}, expected (1, {grid.n_unit}).")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every array and name: stored with each result, so that grids never mix."""
        sha = hashlib.sha256()
        steps = self.grid.steps
        stepped = (steps,) if steps.n_tap or steps.n_shunt else ()
        for part in (self.grid, self.grid.costs, *stepped, self.topology, self.injection):
            for item in fields(part):
                value = getattr(part, item.name)
                if isinstance(value, (Costs, Steps)):  # parts of their own
                    continue
                sha.update(item.name.encode())
                if isinstance(value, np.ndarray):
                    sha.update(f"{value.dtype}{value.shape}".encode())
                    sha.update(np.ascontiguousarray(value).tobytes())
                else:
                    sha.update(repr(value).encode())
        return sha.hexdigest()
