"""The DC screen against the DC power flow of each state, solved anew (another code path)."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.actions import CLOSE, apply_actions, unitary_actions
from gridrl.case import Case
from gridrl.grid import Floats, Topology
from gridrl.powerflow.dc import dc_flow
from gridrl.powerflow.sensitivity import (
    dc_losses,
    loading_after,
    loading_after_losses,
    sensitivities,
)
from gridrl.whatif.screening import moves_of

# Seen: 2e-14 on case300.
RTOL = 1e-10


def brute_force(case: Case, topology: Topology, lost_unit: int = -1) -> Floats:
    """Highest DC loading of each state."""
    grid = case.grid
    p = case.injection.p.copy()
    if lost_unit >= 0:
        p[:, lost_unit] = 0.0
    injection = replace(case.injection, p=p)
    flow = dc_flow(case, topology=topology, injection=injection).p_from
    limit = np.minimum.reduce([grid.i_max_from, grid.i_max_to, grid.s_max])
    return np.abs(flow / limit).max(axis=1)


@pytest.fixture(scope="module", params=["case14", "case39", "case57", "case300"])
def screened(request):
    """A case with phase shifts, one line open, its actions and what the screen says of some."""
    case = gridrl.load(request.param)
    grid = case.grid
    shift = grid.shift_dc.copy()
    shift[3] = 0.05
    rng = np.random.default_rng(7)
    limit = rng.uniform(0.5, 2.0, grid.n_branch)
    case = replace(case, grid=replace(grid, shift_dc=shift, i_max_from=limit))
    branch = np.bincount(grid.branch_element, minlength=grid.n_element) == 1
    cut = loading_after_opening(case)
    element = int(
        grid.branch_element[np.flatnonzero(np.isfinite(cut) & branch[grid.branch_element])[2]]
    )
    case = gridrl.open_elements(case, [f"{grid.element_kind[element]}:{grid.element_id[element]}"])
    actions = unitary_actions(case, closable=[element], most=64)
    moves, covered = moves_of(case, actions)
    gens = np.flatnonzero(np.array([k == "gen" for k in grid.unit_kind]))[:3]
    found = sensitivities(case, np.arange(grid.n_branch))
    losses = dc_losses(found, gens, np.flatnonzero(found.live))
    return case, actions, moves, covered, (found, losses), rng


def loading_after_opening(case):
    """[n_branch] infinite where opening the branch cuts the grid."""
    actions = unitary_actions(case, substations=())
    moves, _ = moves_of(case, actions)
    out = np.full(case.grid.n_branch, np.inf)
    found = sensitivities(case, np.arange(case.grid.n_branch))
    out[moves.part_branch] = loading_after(found, moves)
    return out


def test_every_action_agrees_with_a_new_dc_flow(screened):
    case, actions, moves, covered, (found, _), rng = screened
    got = loading_after(found, moves)
    some = rng.permutation(len(moves))[:150]
    some = np.union1d(some, np.flatnonzero(actions.kind[covered] == CLOSE))
    assert (actions.kind[covered] == CLOSE).any()
    want = brute_force(case, apply_actions(case, actions, [(int(covered[k]),) for k in some]))
    whole = np.isfinite(got[some])
    assert whole.sum() > 50
    np.testing.assert_allclose(got[some][whole], want[whole], rtol=RTOL)


def test_every_loss_after_an_action_agrees_with_a_new_dc_flow(screened):
    case, actions, moves, covered, (found, losses), rng = screened
    order = rng.permutation(np.flatnonzero(np.isfinite(loading_after(found, moves))))[:12]
    loading, _ = loading_after_losses(found, moves, losses, order)
    checked = 0
    for row, k in enumerate(order):
        after = apply_actions(case, actions, [(int(covered[k]),)])
        some = rng.permutation(losses.unit.size)[:15]
        for column in np.union1d(some, np.flatnonzero(losses.unit >= 0)):
            unit, outage = int(losses.unit[column]), int(losses.branch[column])
            closed = after.closed.copy()
            if outage >= 0:
                closed[0, outage] = False
            lost = replace(after, closed=closed)
            if outage >= 0 and cuts_off(case, lost, after):
                continue
            want = brute_force(case, lost, unit)[0]
            np.testing.assert_allclose(loading[row, column], want, rtol=RTOL)
            checked += 1
    assert checked > 50


def cuts_off(case, outage, before):
    dead = [np.isnan(dc_flow(case, topology=t).theta[0]).sum() for t in (outage, before)]
    return dead[0] != dead[1]


def test_outages_that_cut_the_grid_after_an_action_are_counted(case14):
    # Opening 1-2 (branch 0) leaves bus 1 with one branch: its loss cuts off the slack's bus.
    actions = unitary_actions(case14, substations=())
    moves, _ = moves_of(case14, actions)
    found = sensitivities(case14, np.arange(case14.grid.n_branch))
    first = np.flatnonzero(moves.part_branch == 0)
    every = dc_losses(found, np.empty(0, np.int64), np.arange(case14.grid.n_branch))
    _, cuts = loading_after_losses(found, moves, every, first)
    assert cuts[0] == 1


def test_factors_are_those_of_two_flows(case39):
    grid = case39.grid
    found = sensitivities(case39, np.arange(grid.n_branch))
    base = dc_flow(case39).p_from[0]
    unit = 4
    p = case39.injection.p.copy()
    p[0, unit] += 1.0
    moved = dc_flow(case39, injection=replace(case39.injection, p=p)).p_from[0]
    node = np.array([grid.unit_substation[unit]])
    np.testing.assert_allclose(found.transfer(node)[:, 0], moved - base, atol=1e-9)
    closed = case39.topology.closed.copy()
    closed[0, 10] = False
    after = dc_flow(case39, topology=replace(case39.topology, closed=closed)).p_from[0]
    np.testing.assert_allclose(found.outage_factors(10) * base[10], after - base, atol=1e-9)
