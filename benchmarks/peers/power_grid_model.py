"""power-grid-model: batches of power flows in C++.

It has no bus that holds a voltage (version 1.12), so it cannot take the problems as posed. Where
the generators are given the reactive power of the base state instead (variant "PQ"), it can.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import Algorithm, Prepared, Refused
from gridrl.bench.problem import PQ, Problem
from gridrl.grid import Complexes

STIFF_VA = 1e20  # short-circuit power of the source: its voltage is held


def contender() -> PowerGridModel:
    return PowerGridModel()


class PowerGridModel:
    name = "power_grid_model"

    def version(self) -> str:
        return importlib.metadata.version("power-grid-model")

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        if problem.task not in ("n1", "sweep"):
            return []
        if problem.variant != PQ:
            raise Refused("it has no bus that holds its voltage: see the variant PQ")
        return [Algorithm(name="batch, Newton-Raphson")]

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        del algorithm
        from power_grid_model import CalculationMethod, ComponentType, PowerGridModel

        data, first_load = _input(problem)
        model = PowerGridModel(data)
        update = _update(problem, first_load)
        found: list[Any] = []

        def run() -> None:
            found[:] = [
                model.calculate_power_flow(
                    update_data=update, calculation_method=CalculationMethod.newton_raphson,
                    error_tolerance=problem.tolerance, max_iterations=20, threading=-1,
                    continue_on_batch_error=True, output_component_types=[ComponentType.node],
                )
            ]  # fmt: skip

        def voltages() -> Complexes:
            node = found[0][ComponentType.node]
            v: Complexes = node["u_pu"] * np.exp(1j * node["u_angle"])
            failed = model.batch_error
            if failed is not None:
                v[np.asarray(failed.failed_scenarios, int)] = np.nan
            return v

        return Prepared(run=run, voltages=voltages, note="stops at a change of voltage of 1e-8")


def _input(problem: Problem) -> tuple[Any, int]:
    """Nodes, two-ports, the source and all injections; and the id of the first injection."""
    from power_grid_model import ComponentType as Type
    from power_grid_model import DatasetType, initialize_array

    grid, injection = problem.case.grid, problem.case.injection
    n, m = grid.n_substation, grid.n_branch
    base = grid.s_base_mva * 1e6
    node = initialize_array(DatasetType.input, Type.node, n)
    node["id"] = np.arange(n)
    node["u_rated"] = grid.vn_kv * 1e3
    branch = initialize_array(DatasetType.input, Type.generic_branch, m)
    ratio = np.sqrt(np.abs(grid.y_tt / grid.y_ff))
    shift = np.angle(grid.y_tf / grid.y_ft) / -2  # y_ft = -y / conj(t), y_tf = -y / t
    flip = (-grid.y_ft * ratio * np.exp(-1j * shift)).imag > 0  # shifts beyond 90 degrees
    shift = np.where(flip, shift + np.pi, shift)
    series = -grid.y_ft * ratio * np.exp(-1j * shift)
    shunt = 2 * (grid.y_tt - series)
    z_base = (grid.vn_kv[grid.to_substation] * 1e3) ** 2 / base
    branch["id"] = n + np.arange(m)
    branch["from_node"], branch["to_node"] = grid.from_substation, grid.to_substation
    closed = problem.case.topology.closed[0]
    branch["from_status"] = branch["to_status"] = closed
    branch["r1"], branch["x1"] = (z_base / series).real, (z_base / series).imag
    branch["g1"], branch["b1"] = shunt.real / z_base, shunt.imag / z_base
    branch["k"], branch["theta"], branch["sn"] = ratio, shift, base
    reference = int(np.argmax(grid.is_reference))
    source = initialize_array(DatasetType.input, Type.source, 1)
    source["id"], source["node"], source["status"] = n + m, problem.slack, 1
    source["u_ref"] = injection.v_set[0, reference]
    source["u_ref_angle"] = grid.va_reference[reference]
    source["sk"], source["rx_ratio"], source["z01_ratio"] = STIFF_VA, 0.1, 1.0
    load = initialize_array(DatasetType.input, Type.sym_load, grid.n_unit)
    load["id"] = n + m + 1 + np.arange(grid.n_unit)
    load["node"] = grid.unit_substation
    live = problem.case.topology.busbar[0, 2 * m :] > 0
    load["status"] = live & ~grid.is_reference
    mixed = ~np.isin(grid.z_share_p, (0.0, 1.0)) | (grid.i_share_p != 0) | (grid.i_share_q != 0)
    if (mixed & live).any():
        raise Refused("its adapter knows constant power and constant admittance only")
    load["type"] = np.where(grid.z_share_p == 1, 1, 0)  # LoadGenType: const_impedance, const_power
    load["p_specified"] = -injection.p[0] * base
    load["q_specified"] = -injection.q[0] * base
    data = {Type.node: node, Type.generic_branch: branch, Type.source: source, Type.sym_load: load}
    return data, n + m + 1


def _update(problem: Problem, first_load: int) -> Any:
    from power_grid_model import ComponentType as Type
    from power_grid_model import DatasetType, initialize_array

    grid = problem.case.grid
    if problem.task == "n1":
        branch = initialize_array(DatasetType.update, Type.generic_branch, (problem.states, 1))
        branch["id"] = grid.n_substation + problem.outage[:, None]
        branch["from_status"] = branch["to_status"] = 0
        return {Type.generic_branch: branch}
    shape = (problem.states, grid.n_unit)
    load = initialize_array(DatasetType.update, Type.sym_load, shape)
    load["id"] = first_load + np.arange(grid.n_unit)
    load["p_specified"] = -problem.injection.p * grid.s_base_mva * 1e6
    load["q_specified"] = -problem.injection.q * grid.s_base_mva * 1e6
    return {Type.sym_load: load}
