"""Reactive limits on the factors of the base state: each state is held against one of its own."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.grid import Injection
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.security.result import SecurityOptions

LIMITED = FlowOptions(enforce_q_limits=True, restore_voltage=True)
ATOL = 1e-6  # p.u., both stop below a mismatch of 1e-8; seen 6e-8 on case1354pegase


def drawn(case, count, seed, spread=0.2):
    rng, one = np.random.default_rng(seed), case.injection
    shape = (count, case.grid.n_unit)
    return Injection(
        p=one.p * rng.uniform(1 - spread, 1 + spread, shape),
        q=one.q * rng.uniform(1 - spread, 1 + spread, shape),
        v_set=np.repeat(one.v_set, count, axis=0),
    )


def tightened(name):
    """Every third generator may bring a tenth less reactive power than it does, or take less."""
    case = gridrl.load(name)
    grid = case.grid
    q = gridrl.flow(case).unit_power(0).imag
    some = np.flatnonzero(grid.controls_voltage & ~grid.is_reference & (np.abs(q) > 0.01))[::3]
    q_min, q_max = np.array(grid.q_min), np.array(grid.q_max)
    q_max[some] = np.where(q[some] > 0, 0.9 * q[some], q_max[some])
    q_min[some] = np.where(q[some] < 0, 0.9 * q[some], q_min[some])
    return replace(case, grid=replace(grid, q_min=q_min, q_max=q_max))


@pytest.mark.parametrize("name", ("case57", "case118", "case89pegase"))
def test_a_sweep_with_limits_equals_cases_of_their_own(name):
    case = tightened(name)
    engine = prepare(case, options=LIMITED)
    assert (engine.base.pins != 0).any(), "no generator at a limit: nothing is tested"
    injection = drawn(case, 24, seed=6)
    swept = engine.flow(injection=injection)
    for k in range(0, 24, 3):
        rows = Injection(
            p=injection.p[k : k + 1], q=injection.q[k : k + 1], v_set=injection.v_set[k : k + 1]
        )
        alone = gridrl.flow(replace(case, injection=rows), options=LIMITED)
        assert swept.status[k] == alone.status[0]
        np.testing.assert_allclose(swept.v[k], alone.v[0], rtol=0, atol=ATOL)
        np.testing.assert_allclose(swept.s_to[k], alone.s_to[0], rtol=0, atol=10 * ATOL)
        assert_limits_hold(case, swept, k)


def assert_limits_hold(case, result, k):
    """Each generator is in range at its set point, or at a limit on the side where that binds."""
    grid = case.grid
    q = result.unit_power(k).imag
    node = result.terminal_node(k)[2 * grid.n_branch :]
    units = np.flatnonzero(grid.controls_voltage & ~grid.is_reference & (node >= 0))
    alone = np.bincount(node[units], minlength=result.v.shape[1])[node[units]] == 1
    for m in units[alone]:
        v, wanted = abs(result.v[k, node[m]]), result.injection.v_set[k, m]
        assert grid.q_min[m] - ATOL <= q[m] <= grid.q_max[m] + ATOL
        if v < wanted - ATOL:
            assert q[m] > grid.q_max[m] - ATOL
        if v > wanted + ATOL:
            assert q[m] < grid.q_min[m] + ATOL


@pytest.mark.parametrize("name", ("case57", "case118"))
def test_outages_with_limits_equal_flows_of_their_own(name):
    case = tightened(name)
    result = gridrl.security(case, options=SecurityOptions(flow=LIMITED))
    labels = result.contingencies.name
    for k in range(0, len(labels), 11):
        try:
            own = gridrl.flow(gridrl.open_elements(case, [labels[k]]), options=LIMITED)
        except gridrl.GridError:  # the last reference went
            continue
        assert bool(own.solved()[0]) == (result.iterations[k] >= 0)
        if not own.solved()[0]:
            continue
        at = int(result.voltage_node[k])
        np.testing.assert_allclose(result.voltage[k], abs(own.v[0, at]), rtol=0, atol=ATOL)
        loading = np.nanmax(np.where(np.isfinite(own.loading()), own.loading(), np.nan))
        np.testing.assert_allclose(result.loading[k], loading, rtol=0, atol=10 * ATOL)
