"""Opening and scaling: what changes, what must not, and what is refused by name."""

import numpy as np
import pytest

import gridrl
from gridrl.case import Case
from gridrl.errors import ElementError, GridError


def element(case: Case, kind: str) -> str:
    """Some element of this kind, as a user writes it."""
    at = case.grid.element_kind.index(kind)
    return f"{kind}:{case.grid.element_id[at]}"


def test_opening_a_line_opens_that_line_alone(case118: Case) -> None:
    opened = gridrl.open_elements(case118, ["line:7"])
    changed = np.flatnonzero(case118.topology.closed != opened.topology.closed)
    assert [case118.grid.branch_label[k].split(" ")[0] for k in changed] == ["line:7"]
    assert (opened.topology.busbar == case118.topology.busbar).all()
    assert case118.topology.closed[0, changed].all(), "the caller's case changed"


def test_every_leg_of_a_three_winding_transformer_opens() -> None:
    case = gridrl.load("example_multivoltage")
    opened = gridrl.open_elements(case, [element(case, "trafo3w")])
    lost = case.topology.closed & ~opened.topology.closed
    assert lost.sum() == 3
    assert {case.grid.branch_label[k].split(":")[0] for k in np.flatnonzero(lost)} == {"trafo3w"}


def test_an_opened_generator_leaves_its_busbar(case14: Case) -> None:
    opened = gridrl.open_elements(case14, [element(case14, "gen")])
    (changed,) = np.flatnonzero(opened.topology.busbar != case14.topology.busbar)
    assert opened.topology.busbar[0, changed] == 0
    assert case14.grid.unit_kind[changed - 2 * case14.grid.n_branch] == "gen"


def test_opening_agrees_with_pandapower(case14: Case) -> None:
    import pandapower as pp
    import pandapower.networks

    net = pandapower.networks.case14()
    net.line.loc[3, "in_service"] = False
    net.load.loc[:, ["p_mw", "q_mvar"]] *= 1.1
    # Other bus indices would be a change of pandapower's case file, not of the physics.
    pp.runpp(net, tolerance_mva=1e-9, numba=False)
    case = gridrl.scale_load(gridrl.open_elements(case14, ["line:3"]), 1.1)
    v = gridrl.flow(case).v[0, case.grid.bus_substation]
    # Both stop at 1e-9 MVA or better; case14 is well conditioned.
    np.testing.assert_allclose(np.abs(v), net.res_bus.vm_pu, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.degrees(np.angle(v)), net.res_bus.va_degree, rtol=0, atol=1e-8)


def test_a_name_that_does_not_exist_is_answered_with_near_ones(case118: Case) -> None:
    with pytest.raises(ElementError, match=r"No element 'line:999' in case118\. Did you mean"):
        gridrl.open_elements(case118, ["line:999"])


def test_opening_twice_is_refused(case118: Case) -> None:
    once = gridrl.open_elements(case118, ["line:7"])
    with pytest.raises(ElementError, match=r"line:7.* of case118 is out of service already"):
        gridrl.open_elements(once, ["line:7"])
    with pytest.raises(ElementError, match="already"):
        gridrl.open_elements(case118, ["line:7", "line:7"])


def test_scaling_multiplies_loads_and_nothing_else(case118: Case) -> None:
    scaled = gridrl.scale_load(case118, 1.25)
    is_load = np.array([kind == "load" for kind in case118.grid.unit_kind])
    for before, after in (
        (case118.injection.p, scaled.injection.p),
        (case118.injection.q, scaled.injection.q),
    ):
        np.testing.assert_array_equal(after[:, is_load], before[:, is_load] * 1.25)
        np.testing.assert_array_equal(after[:, ~is_load], before[:, ~is_load])
    assert is_load.sum() == 99


@pytest.mark.parametrize("factor", (-0.1, float("nan"), float("inf")))
def test_a_factor_without_meaning_is_refused(case14: Case, factor: float) -> None:
    with pytest.raises(GridError, match="cannot be scaled by"):
        gridrl.scale_load(case14, factor)
