"""The last look at a `Case` before anything is solved, whatever door it came through.

What contradicts itself raises; what is only hard to believe (a load that was probably meant in
kW, buses that nothing supplies) becomes a SUSPECT row of the loss report.
"""

from collections.abc import Sequence

import numpy as np

from gridrl.case import Case, Fate, ReportRow
from gridrl.errors import GridError, offending
from gridrl.grid import Bools, Floats, Grid, Ints

# No feeder carries more, and no machine; loads in kW instead of MW do.
PLAUSIBLE_KA = 6.0
PLAUSIBLE_MACHINE_KA = 60.0
PLAUSIBLE_KV = (0.1, 1500.0)
PLAUSIBLE_BASE_MVA = (1e-3, 1e5)
PLAUSIBLE_R_OVER_X = 30.0  # low-voltage cables reach 10
PLAUSIBLE_V_SET = (0.5, 1.5)  # p.u.
SAME_V_SET = 1e-5  # p.u.; pandapower's own tolerance


def validate(case: Case) -> list[ReportRow]:
    """What looks wrong in ``case``.

    Raises
    ------
    GridError
        Values no power flow can use, set points that contradict each other at one node, or no
        reference in service. All problems are in one message, one sentence each.
    """
    problems = [*_broken_numbers(case), *_conflicts(case)]
    if problems:
        raise GridError("\n".join(problems))
    return [
        *_implausible_base(case.grid),
        *_implausible_branches(case.grid),
        *_implausible_units(case),
        *_inverted_limits(case.grid),
        *_unsupplied(case),
        *_repeated_names(case.grid),
    ]


def suspect(kind: str, bad: Bools, ids: Sequence[str], note: str) -> list[ReportRow]:
    """A SUSPECT row for the entries selected by ``bad``; none if there are none."""
    if not bad.any():
        return []
    elements = tuple(ids[int(k)] for k in np.flatnonzero(bad))
    return [
        ReportRow(fate=Fate.SUSPECT, kind=kind, count=len(elements), note=note, elements=elements)
    ]


def _units_on(case: Case) -> Bools:
    return np.asarray(case.topology.busbar[0, 2 * case.grid.n_branch :] > 0)


def _broken_numbers(case: Case) -> list[str]:
    grid, injection = case.grid, case.injection
    problems = []

    def complain(bad: Bools, names: Sequence[str], what: str) -> None:
        if bad.any():
            problems.append(f"{bad.sum()} {what}: {offending(bad, names)}. Correct the value.")

    y = np.stack([grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt])
    broken = np.asarray(~np.isfinite(y).all(axis=0))
    complain(broken, grid.branch_label, "branches have no finite admittance (p.u.)")
    complain(
        ~np.isfinite(grid.b_dc + grid.shift_dc),
        grid.branch_label,
        "branches have no finite reactance or phase shift for the DC model (p.u., rad)",
    )
    for field in ("i_max_from", "i_max_to", "s_max"):
        complain(
            getattr(grid, field) <= 0.0,
            grid.branch_label,
            f"branches have a rating {field} (p.u.) that is not positive",
        )
    for field, unit in (("p", "active power"), ("q", "reactive power")):
        complain(
            ~np.isfinite(getattr(injection, field)[0]),
            grid.unit_label,
            f"units have no finite {unit} {field} (p.u.)",
        )
    v_set = injection.v_set[0]
    complain(
        grid.controls_voltage & ~(np.isfinite(v_set) & (v_set > 0.0)),
        grid.unit_label,
        "units control voltage without a positive set point v_set (p.u.)",
    )
    return problems


def _conflicts(case: Case) -> list[str]:
    """Contradicting set points at one busbar, and the lack of any reference."""
    grid, on = case.grid, _units_on(case)
    problems = []
    busbar = case.topology.busbar[0, 2 * grid.n_branch :].astype(np.int64)
    node = grid.unit_substation * 3 + busbar
    for holds, value, what in (
        (grid.controls_voltage & on, case.injection.v_set[0], "voltage set points v_set (p.u.)"),
        (grid.is_reference & on, grid.va_reference, "reference angles (rad)"),
    ):
        clash = _spread(node, np.where(holds, value, np.nan), grid) > SAME_V_SET
        clash &= holds
        if clash.any():
            where = sorted({grid.substation_name[k] for k in grid.unit_substation[clash]})
            problems.append(
                f"Different {what} at one node ({', '.join(where[:3])}): "
                f"{offending(clash, grid.unit_label)}. Give them the same value, or separate them."
            )
    if not (grid.is_reference & on).any():
        problems.append(
            "No external grid or slack generator is in service, so nothing sets the voltage "
            "angle. Add one or switch one on."
        )
    return problems


def _spread(node: Ints, value: Floats, grid: Grid) -> Floats:
    """[n_unit] largest minus smallest ``value`` (NaN ignored) at the unit's node."""
    low = np.full(3 * grid.n_substation, np.inf)
    high = np.full(3 * grid.n_substation, -np.inf)
    given = ~np.isnan(value)
    np.minimum.at(low, node[given], value[given])
    np.maximum.at(high, node[given], value[given])
    return np.asarray(high[node] - low[node])


def _implausible_base(grid: Grid) -> list[ReportRow]:
    rows = []
    low, high = PLAUSIBLE_BASE_MVA
    if not low <= grid.s_base_mva <= high:
        note = f"base power is {grid.s_base_mva:g} MVA; usual is 1 to 1000. Is the unit right?"
        rows.append(ReportRow(fate=Fate.SUSPECT, kind="sn_mva", count=1, note=note))
    low, high = PLAUSIBLE_KV
    vn_kv = grid.vn_kv[grid.bus_substation]
    ids = [f"bus:{k}" for k in grid.bus_id]
    note = f"vn_kv lies outside {low:g}..{high:g} kV; was it meant in V?"
    return rows + suspect("bus", (vn_kv < low) | (vn_kv > high), ids, note)


def _implausible_branches(grid: Grid) -> list[ReportRow]:
    """Two-ports whose series impedance is odd, and lines between unequal voltage levels."""
    with np.errstate(all="ignore"):
        z = np.sqrt(1.0 / (grid.y_ft * grid.y_tf))  # up to its sign; taps and shifts cancel
        r_over_x = np.abs(z.real / z.imag)
        vn_from, vn_to = grid.vn_kv[grid.from_substation], grid.vn_kv[grid.to_substation]
    star = grid.is_star[grid.from_substation] | grid.is_star[grid.to_substation]
    line = np.array([grid.element_kind[e] == "line" for e in grid.branch_element], dtype=bool)
    names = grid.branch_label
    return [
        *suspect(
            "line",
            line & ~np.isclose(vn_from, vn_to, rtol=0.15),
            names,
            "line between buses whose vn_kv differ by more than 15 %; is vn_kv right?",
        ),
        *suspect(
            "branch",
            np.isfinite(r_over_x) & (r_over_x > PLAUSIBLE_R_OVER_X) & ~star,
            names,
            f"resistance over {PLAUSIBLE_R_OVER_X:g} times the reactance; are r and x right (ohm)?",
        ),
        *suspect(
            "branch",
            (grid.b_dc < 0.0) & ~star,
            names,
            "negative reactance x: right for a series capacitor or a fitted equivalent only",
        ),
    ]


def _implausible_units(case: Case) -> list[ReportRow]:
    grid = case.grid
    on = _units_on(case)
    power_mva = np.hypot(case.injection.p[0], case.injection.q[0]) * grid.s_base_mva
    most_ka = np.where(grid.controls_voltage, PLAUSIBLE_MACHINE_KA, PLAUSIBLE_KA)
    most_mva = np.sqrt(3.0) * most_ka * grid.vn_kv[grid.unit_substation]
    v_set = case.injection.v_set[0]
    low, high = PLAUSIBLE_V_SET
    shares = (grid.i_share_p + grid.z_share_p, grid.i_share_q + grid.z_share_q)
    return [
        *suspect(
            "unit",
            on & (power_mva > most_mva),
            grid.unit_label,
            f"more than {PLAUSIBLE_KA:g} kA at nominal voltage ({PLAUSIBLE_MACHINE_KA:g} kA for a "
            "machine); was p (MW) meant in kW?",
        ),
        *suspect(
            "unit",
            on & grid.controls_voltage & ((v_set < low) | (v_set > high)),
            grid.unit_label,
            f"voltage set point outside {low:g}..{high:g} p.u.; was it meant in kV or %?",
        ),
        *suspect(
            "unit",
            (np.maximum(*shares) > 1.0 + 1e-9) | (np.minimum(*shares) < 0.0),
            grid.unit_label,
            "constant-current and constant-impedance shares do not add up to 0..100 %",
        ),
    ]


def _inverted_limits(grid: Grid) -> list[ReportRow]:
    return [
        *suspect("unit", grid.p_min > grid.p_max, grid.unit_label, "p_min is above p_max (MW)"),
        *suspect("unit", grid.q_min > grid.q_max, grid.unit_label, "q_min is above q_max (Mvar)"),
        *suspect(
            "bus", grid.v_min > grid.v_max, grid.substation_name, "v_min is above v_max (p.u.)"
        ),
        *suspect(
            "branch",
            grid.angle_min > grid.angle_max,
            grid.branch_label,
            "angle_min is above angle_max (degrees)",
        ),
    ]


def _unsupplied(case: Case) -> list[ReportRow]:
    """Buses without a path of closed branches to a reference: they have no voltage."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    grid, n = case.grid, case.grid.n_branch
    busbar = case.topology.busbar[0].astype(np.int64)
    both = case.topology.closed[0] & (busbar[:n] > 0) & (busbar[n : 2 * n] > 0)
    size = 3 * grid.n_substation  # a node for each busbar, the unused number 0 included
    start = (grid.from_substation * 3 + busbar[:n])[both]
    stop = (grid.to_substation * 3 + busbar[n : 2 * n])[both]
    graph = coo_array((np.ones(start.size), (start, stop)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    feeds = grid.is_reference & _units_on(case)
    node = grid.unit_substation * 3 + busbar[2 * n :]
    fed = np.isin(component, component[node[feeds]]).reshape(-1, 3)[:, 1:].any(axis=1)
    lost = ~np.asarray(fed)[grid.bus_substation]
    note = "no path to an external grid or slack generator: no voltage, its loads unserved"
    return suspect("bus", lost, [f"bus:{k}" for k in grid.bus_id], note)


def _repeated_names(grid: Grid) -> list[ReportRow]:
    by_kind: dict[str, list[str]] = {"bus": list(grid.bus_name)}
    for kind, name in zip(grid.element_kind, grid.element_name, strict=True):
        by_kind.setdefault(kind, []).append(name)
    return [row for kind, names in by_kind.items() for row in _repeats(kind, names)]


def _repeats(kind: str, names: list[str]) -> list[ReportRow]:
    seen: dict[str, int] = {}
    for name in names:
        if name:
            seen[name] = seen.get(name, 0) + 1
    repeated = tuple(name for name, count in seen.items() if count > 1)
    if not repeated:
        return []
    note = "names given more than once: address these elements by kind:id"
    return [
        ReportRow(fate=Fate.SUSPECT, kind=kind, count=len(repeated), note=note, elements=repeated)
    ]
