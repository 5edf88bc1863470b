"""The pandapower network behind a problem, and who is who in it: shared by the adapters."""

import copy
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandapower
import pandapower.networks
import pandapower.toolbox

from gridrl.bench.contender import Refused
from gridrl.bench.problem import Problem
from gridrl.grid import Complexes, Ints

KINDS = ("line", "trafo", "load", "gen", "ext_grid", "sgen", "shunt")


@cache
def _solved(name: str, tolerance: float) -> Any:
    """A network by name with its solved base state; conversion and solution take seconds."""
    make = getattr(pandapower.networks, name, None)
    if make is None:
        raise Refused(f"pandapower has no network {name}")
    net = make()
    pandapower.toolbox.create_continuous_bus_index(net, start=0)
    pandapower.runpp(
        net, numba=True, init="dc", calculate_voltage_angles=True,
        tolerance_mva=tolerance * net.sn_mva, max_iteration=30,
    )  # fmt: skip
    return net


class Network:
    """A pandapower network with bus indices 0 .. n - 1, and the grid's places in its tables."""

    def __init__(self, problem: Problem) -> None:
        grid = problem.case.grid
        foreign = sorted(set(grid.element_kind) - set(KINDS))
        if foreign:
            raise Refused(f"its adapter knows no {', '.join(foreign)}")
        if grid.n_bus != grid.n_substation:
            raise Refused("closed bus-bus switches join buses of this grid")
        self.problem = problem
        # with its solved base state
        self.net: Any = copy.deepcopy(_solved(problem.grid_name, problem.tolerance))
        self._place = {
            (kind, str(index)): place
            for kind in KINDS
            for place, index in enumerate(self.net[kind].index)
        }

    @property
    def tolerance_mva(self) -> float:
        return self.problem.tolerance * self.problem.case.grid.s_base_mva

    def place(self, element: int) -> int:
        """Row of an element in the table of its kind."""
        grid = self.problem.case.grid
        return self._place[grid.element_kind[element], grid.element_id[element]]

    @cached_property
    def branch_place(self) -> Ints:
        """[n_branch] place of each branch where lines come first and transformers follow."""
        grid = self.problem.case.grid
        after = {"line": 0, "trafo": len(self.net.line)}
        return np.array(
            [after[grid.element_kind[e]] + self.place(int(e)) for e in grid.branch_element],
            np.int64,
        )

    @cached_property
    def substation_bus(self) -> Ints:
        """[n_substation] bus of each substation; the buses were numbered anew, in their order."""
        grid = self.problem.case.grid
        rank = np.argsort(np.argsort(np.array(grid.bus_id, np.int64)))
        bus = np.empty(grid.n_substation, np.int64)
        bus[grid.bus_substation] = rank
        return bus

    def units(self, kind: str) -> tuple[Ints, Ints]:
        """Units of a kind, and the row of each in the table of that kind."""
        grid = self.problem.case.grid
        found = [m for m, name in enumerate(grid.unit_kind) if name == kind]
        rows = [self.place(int(grid.unit_element[m])) for m in found]
        return np.array(found, np.int64), np.array(rows, np.int64)

    def load_mva(self) -> Complexes:
        """[B, n_load] consumption of each load in each state, MVA, in the table's order."""
        injection = self.problem.injection
        unit, row = self.units("load")
        power = np.empty((injection.batch, row.size), np.complex128)
        power[:, row] = -(injection.p[:, unit] + 1j * injection.q[:, unit])
        return power * self.problem.case.grid.s_base_mva

    def by_substation(self, v: Complexes) -> Complexes:
        """[B, n_substation] voltages of [B, n_bus]."""
        return v[:, self.substation_bus]
