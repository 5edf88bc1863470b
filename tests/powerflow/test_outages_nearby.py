"""Single outages on the base's factors: their first step, and what threads and lanes change."""

import os
import subprocess
import sys

import numpy as np
import pytest

import gridrl
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.solve import in_threads
from gridrl.security.result import SecurityOptions
from tests.reference_newton import network, unit_power


def newton_step(case, v):
    """First step of the textbook Newton method from ``v`` by node: (turn rad, ln |v|)."""
    grid = case.grid
    ybus, node, on = network(case)
    nodes = 2 * np.arange(grid.n_substation)  # busbar 1 everywhere
    ybus, node = ybus[nodes][:, nodes].toarray(), node // 2
    size = np.abs(v)
    s = np.zeros(v.size, complex)
    np.add.at(s, node[on], unit_power(case, size[node])[on])
    ref = np.unique(node[on & grid.is_reference])
    held = np.unique(node[on & grid.controls_voltage])
    turns = np.setdiff1d(np.arange(v.size), ref)
    grows = np.setdiff1d(turns, held)
    current = ybus @ v
    by_angle = 1j * np.diag(v) @ (np.diag(current) - ybus @ np.diag(v)).conj()
    by_size = np.diag(v) @ (ybus @ np.diag(v / size)).conj() + np.diag(current.conj() * v / size)
    slope = (unit_power(case, size[node] + 1e-6) - unit_power(case, size[node] - 1e-6)) / 2e-6
    np.subtract.at(by_size, (node[on], node[on]), slope[on])
    rows = [by_angle[:, turns], by_size[:, grows]]
    jacobian = np.vstack([np.hstack(rows)[turns].real, np.hstack(rows)[grows].imag])
    owed = s - v * current.conj()
    step = np.linalg.solve(jacobian, np.concatenate([owed[turns].real, owed[grows].imag]))
    turn, grow = np.zeros(v.size), np.zeros(v.size)
    turn[turns] = step[: turns.size]
    grow[grows] = step[turns.size :] / size[grows]
    return turn, grow


@pytest.mark.parametrize("name", ("case39", "case89pegase", "case300"))
def test_the_first_step_of_an_outage_is_newtons(name):
    case = gridrl.load(name)
    grid, engine = case.grid, prepare(case)
    step = engine.nearby.outage_step
    single = np.bincount(grid.branch_element)[grid.branch_element] == 1
    secure = np.flatnonzero(single & case.topology.closed[0] & (step < 10))
    v = engine.base.v[0][: grid.n_substation]
    for k in np.random.default_rng(0).choice(secure, 12, replace=False):
        outage = gridrl.open_elements(case, [grid.element_label[grid.branch_element[k]]])
        turn, grow = newton_step(outage, v)
        ends = [grid.from_substation[k], grid.to_substation[k]]
        want = max(np.abs(turn[ends]).max(), np.abs(grow[ends]).max())
        # float32 factors
        np.testing.assert_allclose(step[k], want, rtol=2e-3, atol=1e-6)


def test_threads_do_not_change_a_sweep(case118):
    one, two = (
        gridrl.security(case118, options=SecurityOptions(flow=FlowOptions(threads=n)))
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.status, two.status)
    np.testing.assert_array_equal(one.loading, two.loading)
    np.testing.assert_array_equal(one.violation_value, two.violation_value)


@pytest.mark.parametrize("in_order", (True, False))
@pytest.mark.parametrize("size", (0, 1, 8, 15, 16, 17, 100, 1000))
@pytest.mark.parametrize("threads", (1, 2, 3))
def test_parts_hold_every_state_once_in_whole_groups(threads, size, in_order):
    parts = []
    in_threads(parts.append, np.arange(size), threads, n_lane=8, in_order=in_order)
    assert sorted(np.concatenate(parts)) == list(range(size))
    assert sum(part.size % 8 > 0 for part in parts) <= 1
    if in_order:
        assert all((np.diff(part) == 1).all() for part in parts)


NUMBERS = """
import gridrl, numpy as np, sys
result = gridrl.security(gridrl.load("case300"))
np.save(sys.argv[1], np.stack([result.loading, result.voltage, result.status]))
"""


def test_the_number_of_lanes_does_not_change_results(tmp_path):
    found = []
    for lanes in ("8", "16"):
        path = tmp_path / f"{lanes}.npy"
        subprocess.run(
            [sys.executable, "-c", NUMBERS, path],
            check=True,
            env=os.environ | {"GRIDRL_LANES": lanes},
        )
        found.append(np.load(path))
    np.testing.assert_array_equal(found[0][2], found[1][2])
    # both stop below 1e-8 p.u. of mismatch, after as many iterations as their neighbours need
    np.testing.assert_allclose(found[0][:2], found[1][:2], rtol=0, atol=1e-6)
