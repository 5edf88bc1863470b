"""pandapower: `runpp` with numba, and `run_contingency`."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import Algorithm, Prepared
from gridrl.bench.problem import Problem
from gridrl.grid import Complexes

DC, WARM = "dc start", "warm start"
FEW, FEWER = 16, 8  # states it is given, by size of the grid: one takes 20 to 500 ms
LARGE = 1000  # buses


def contender() -> Pandapower:
    return Pandapower()


class Pandapower:
    name = "pandapower"

    def version(self) -> str:
        return importlib.metadata.version("pandapower")

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        most = FEW if problem.case.grid.n_substation < LARGE else FEWER
        if problem.task == "single":
            return [
                Algorithm(name="runpp, init=dc", variant=DC, most=most),
                Algorithm(name="runpp, init=results", variant=WARM, most=most),
            ]
        if problem.task == "n1":
            return [
                Algorithm(name=f"run_contingency, init={i}", most=most) for i in ("dc", "results")
            ]
        if problem.task == "sweep":
            return [Algorithm(name="runpp, init=results", most=most)]
        return []

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        from .network import Network

        network = Network(problem)
        net = network.net
        settings = {
            "numba": True, "calculate_voltage_angles": True, "max_iteration": 30,
            "tolerance_mva": network.tolerance_mva, "init": algorithm.rpartition("=")[2],
        }  # fmt: skip
        if problem.task == "n1":
            return _outages(problem, net, settings)
        return _loop(problem, network, net, settings)


def _loop(problem: Problem, network: Any, net: Any, settings: dict[str, Any]) -> Prepared:
    import pandapower

    load = network.load_mva()
    found = np.full((problem.states, len(net.bus)), np.nan, np.complex128)

    def run() -> None:
        for k, power in enumerate(load):
            net.load["p_mw"] = power.real
            net.load["q_mvar"] = power.imag
            try:
                pandapower.runpp(net, **settings)
            except pandapower.LoadflowNotConverged:
                found[k] = np.nan
                continue
            angle = np.deg2rad(net.res_bus.va_degree.to_numpy())
            found[k] = net.res_bus.vm_pu.to_numpy() * np.exp(1j * angle)

    return Prepared(run=run, voltages=lambda: network.by_substation(found))


def _outages(problem: Problem, net: Any, settings: dict[str, Any]) -> Prepared:
    from pandapower.contingency import run_contingency

    grid = problem.case.grid
    chosen = [int(grid.branch_element[k]) for k in problem.outage]
    cases = {
        kind: {"index": [int(grid.element_id[e]) for e in chosen if grid.element_kind[e] == kind]}
        for kind in ("line", "trafo")
    }
    # it logs each outage without a power flow as an error
    logging.getLogger("pandapower.contingency").setLevel(logging.CRITICAL)
    logging.getLogger("pandapower.contingency.contingency").setLevel(logging.CRITICAL)
    found: dict[str, Any] = {}

    def run() -> None:
        found.update(run_contingency(net, cases, write_to_net=False, **settings)["bus"])

    def difference(reference: Complexes) -> float:
        """Of the highest and lowest voltage of every bus over all outages."""
        order = np.argsort(np.array(grid.bus_id, np.int64))
        v = np.abs(reference)[:, grid.bus_substation[order]]
        solved = np.isfinite(v).any(axis=1)
        high = np.abs(found["max_vm_pu"] - v[solved].max(axis=0)).max()
        return float(max(high, np.abs(found["min_vm_pu"] - v[solved].min(axis=0)).max()))

    return Prepared(
        run=run, difference=difference,
        note="compared by the extreme voltages of every bus; flows and loadings in the time",
    )  # fmt: skip
