"""A network as powerio holds it (from PSS/E RAW or PowerModels JSON) as a `Case`.

Buses, generators and branches mean what they mean in MATPOWER and go through its tables; loads,
shunts, three-winding transformers, DC lines and switches are richer here and are added as they
are. Powers are MW and MVAr, angles degrees, impedances p.u. on the case base.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.case import Case, Fate, ReportRow
from gridrl.errors import GridError
from gridrl.grid import Bools, Floats, Ints
from gridrl.io.assemble import Branches, Buses, Units, assemble, stack
from gridrl.io.matpower import Parts, convert, report_row
from gridrl.io.matpower_tables import NONE, MatpowerTables
from gridrl.io.rawfile import RawLoad
from gridrl.io.twoport import pi_model

_KINDS = {"PQ": 1, "PV": 2, "REF": 3, "ISOLATED": 4}
Rows = Sequence[dict[str, Any]]


def from_network(
    network: Any,
    *,
    name: str,
    report: Sequence[ReportRow],
    source: str,
    origin: str,
    bus_name: dict[int, str],
    raw_loads: Sequence[RawLoad],
    notes: Sequence[str] = (),
) -> Case:
    """Make a `Case` of a powerio ``BalancedNetwork``.

    Raises
    ------
    CaseError, GridError
        A value is missing, impossible or refers to an unknown bus.
    """
    rows = list(report)
    tables = _tables(network, bus_name)
    parts = convert(tables, rows, name=name)
    bus_of = {int(b): k for k, b in enumerate(tables.bus[:, 0])}
    live = tables.bus[:, 1] != NONE
    units = [parts.units]
    for extra in (
        _loads(network.loads, raw_loads, bus_of, live, tables.base_mva, rows),
        _shunts(network.shunts, bus_of, live, tables.base_mva, rows),
        _dc_lines(network.hvdc, bus_of, live, tables.base_mva, rows),
    ):
        units += [extra] if extra is not None else []
    _report_remote(network, rows)
    for kind in ("storage", "static_var_compensators"):
        items = getattr(network, kind)
        if items:
            ids = tuple(str(item.get("bus")) for item in items)
            note = "not represented; the results do not contain it"
            row = ReportRow(fate=Fate.REFUSED, kind=kind, count=len(ids), note=note, elements=ids)
            rows.append(row)
    parts = Parts(
        buses=_fused(parts.buses, network.switches, bus_of, live, rows),
        branches=parts.branches,
        units=stack(units),
        costs=parts.costs,
    )
    parts = _with_three_windings(parts, network.transformers_3w, bus_of, live, tables, rows)
    return assemble(
        name=name,
        s_base_mva=tables.base_mva,
        buses=parts.buses,
        branches=parts.branches,
        units=parts.units,
        costs=parts.costs,
        report=rows,
        source=source,
        origin=origin,
        notes=notes,
    )


def _tables(network: Any, bus_name: dict[int, str]) -> MatpowerTables:
    """Buses, generators and branches as MATPOWER tables, without loads and shunts."""
    bus = np.zeros((network.n_buses, 13))
    for k, row in enumerate(network.buses):
        kind = _KINDS.get(row["kind"], 0)
        bus[k] = (row["id"], kind, 0, 0, 0, 0, row.get("area") or 1, row["vm"],
                  row["va"], row["base_kv"], 1, row["vmax"], row["vmin"])  # fmt: skip
    gen = np.zeros((network.n_generators, 10))
    for k, row in enumerate(network.generators):
        gen[k] = (row["bus"], row["pg"], row["qg"], row["qmax"], row["qmin"], row["vg"],
                  row["mbase"], row["in_service"], row["pmax"], row["pmin"])  # fmt: skip
    branch = np.zeros((network.n_branches, 13))
    shunt = np.zeros((network.n_branches, 2), dtype=np.complex128)
    for k, row in enumerate(network.branches):
        branch[k] = (row["from_id"], row["to_id"], row["r"], row["x"], row["b"], row["rate_a"],
                     0, 0, row["tap"], row["shift"], row["in_service"], row["angmin"],
                     row["angmax"])  # fmt: skip
        ends = (row["g_fr"], row["b_fr"], row["g_to"], row["b_to"])
        # powerio: "b" is the total; the split is given only where the format has one.
        g_fr, b_fr, g_to, b_to = ends if any(ends) else (0, row["b"] / 2, 0, row["b"] / 2)
        shunt[k] = (complex(g_fr, b_fr), complex(g_to, b_to))
    if not np.isfinite(shunt).all():
        k = int(np.flatnonzero(~np.isfinite(shunt).all(axis=1))[0])
        raise GridError(f"branch {k + 1}: charging (p.u.) is not a finite number. Give its value.")
    return MatpowerTables(
        base_mva=float(network.base_mva),
        bus=bus,
        gen=gen,
        branch=branch,
        bus_name=tuple(bus_name.get(int(b), "") for b in bus[:, 0]) if bus_name else (),
        branch_shunt=shunt,
        branch_name=tuple((row["name"] or "").strip() for row in network.branches),
        gencost=_gencost([row["cost"] for row in network.generators]),
    )


def _gencost(costs: Sequence[dict[str, Any] | None]) -> Floats | None:
    """MATPOWER's cost table; a generator without costs among others that have some costs 0."""
    if not any(costs):
        return None
    width = max(len(cost["coeffs"]) for cost in costs if cost)
    table = np.zeros((len(costs), 4 + max(width, 1)))
    table[:, 0], table[:, 3] = 2, 1
    for row, cost in zip(table, costs, strict=True):
        if cost and cost["coeffs"]:
            row[:4] = cost["model"], cost["startup"], cost["shutdown"], cost["ncost"]
            row[4 : 4 + len(cost["coeffs"])] = cost["coeffs"]
    return table


def _positions(kind: str, numbers: Sequence[Any], bus_of: dict[int, int]) -> Ints:
    """Bus positions of the bus numbers that elements name."""
    unknown = [str(b) for b in numbers if b not in bus_of]
    if unknown:
        raise GridError(
            f"{len(unknown)} {kind} records name buses that are not in the bus table: "
            f"{', '.join(unknown[:5])}. Correct their bus numbers."
        )
    return np.array([bus_of[b] for b in numbers], dtype=np.int64)


def _column(kind: str, items: Rows, key: str, unit: str) -> Floats:
    """One numeric column; refuses what is not finite."""
    value = np.array([float(item[key]) for item in items])
    bad = ~np.isfinite(value)
    if bad.any():
        where = items[int(np.flatnonzero(bad)[0])]
        raise GridError(
            f"{kind} at bus {where.get('bus', where.get('from'))}: {key} ({unit}) is not a finite "
            f"number ({bad.sum()} records). Give its value."
        )
    return value


def _numbered(numbers: Sequence[int]) -> list[str]:
    """Ids "3", "3 #2", ...: the bus number, counted where several hang on one bus."""
    seen: dict[int, int] = {}
    out = []
    for number in numbers:
        seen[number] = seen.get(number, 0) + 1
        out.append(f"{number}" + (f" #{seen[number]}" if seen[number] > 1 else ""))
    return out


def _on(items: Rows, at: Ints, live: Bools) -> Bools:
    return np.array([bool(item["in_service"]) for item in items], dtype=bool) & live[at]


def _loads(
    items: Rows,
    raw: Sequence[RawLoad],
    bus_of: dict[int, int],
    live: Bools,
    base: float,
    rows: list[ReportRow],
) -> Units | None:
    if not items:
        return None
    numbers = [item["bus"] for item in items]
    at = _positions("load", numbers, bus_of)
    p, q = _column("load", items, "p", "MW"), _column("load", items, "q", "MVAr")
    units = Units.plain(
        "load", _numbered(numbers), at, -p / base, -q / base, in_service=_on(items, at, live)
    )
    rows.append(ReportRow(fate=Fate.KEPT, kind="load", count=len(items), note=""))
    mixed = [load for load in raw if any(load.p[1:] + load.q[1:])]
    if not mixed:
        return units
    if [load.bus for load in raw] != numbers or not (
        np.allclose([sum(load.p) for load in raw], p, atol=1e-9)
        and np.allclose([sum(load.q) for load in raw], q, atol=1e-9)
    ):
        note = "constant-current and constant-impedance parts are taken as constant power"
        ids = tuple(str(load.bus) for load in mixed)
        row = ReportRow(fate=Fate.SUSPECT, kind="load", count=len(ids), note=note, elements=ids)
        rows.append(row)
        return units
    for total, parts in ((p, [load.p for load in raw]), (q, [load.q for load in raw])):
        lost = (total == 0) & np.array([any(part) for part in parts])
        if lost.any():
            ids = tuple(str(numbers[int(k)]) for k in np.flatnonzero(lost))
            note = "constant-power, -current and -impedance parts cancel; left out"
            row = ReportRow(fate=Fate.SUSPECT, kind="load", count=len(ids), note=note, elements=ids)
            rows.append(row)
    p_parts, q_parts = np.array([load.p for load in raw]), np.array([load.q for load in raw])
    safe_p, safe_q = np.where(p == 0, 1, p), np.where(q == 0, 1, q)
    return replace(
        units,
        i_share_p=np.where(p == 0, 0, p_parts[:, 1] / safe_p),
        z_share_p=np.where(p == 0, 0, p_parts[:, 2] / safe_p),
        i_share_q=np.where(q == 0, 0, q_parts[:, 1] / safe_q),
        z_share_q=np.where(q == 0, 0, q_parts[:, 2] / safe_q),
    )


def _shunts(
    items: Rows, bus_of: dict[int, int], live: Bools, base: float, rows: list[ReportRow]
) -> Units | None:
    if not items:
        return None
    numbers = [item["bus"] for item in items]
    at = _positions("shunt", numbers, bus_of)
    g, b = _column("shunt", items, "g", "MW"), _column("shunt", items, "b", "MVAr")
    note = "switched shunts stay at their initial step"
    rows.append(ReportRow(fate=Fate.KEPT, kind="shunt", count=len(items), note=note))
    return Units.plain(
        "shunt",
        _numbered(numbers),
        at,
        -g / base,
        b / base,
        in_service=_on(items, at, live),
        impedance=True,
    )


def _dc_lines(
    items: Rows, bus_of: dict[int, int], live: Bools, base: float, rows: list[ReportRow]
) -> Units | None:
    """Each DC line draws at its from end and injects at its to end: one element, two units."""
    if not items:
        return None
    ids = [str(k + 1) for k in range(len(items))]
    names = [f"{item['from']}-{item['to']}" for item in items]
    parts = []
    for end, p_key, q_key, sign in (("from", "pf", "qf", -1.0), ("to", "pt", "qt", 1.0)):
        at = _positions("DC line", [item[end] for item in items], bus_of)
        p, q = (_column("DC line", items, key, "MW or MVAr") for key in (p_key, q_key))
        on = _on(items, at, live)
        parts.append(
            Units.plain("dcline", ids, at, sign * p / base, q / base, name=names, in_service=on)
        )
    note = (
        "two fixed injections; converters draw no reactive power unless the file states it, and "
        "voltage control at the ends is left out"
    )
    rows.append(
        ReportRow(fate=Fate.MAPPED, kind="dcline", count=len(ids), note=note, elements=tuple(names))
    )
    return stack(parts)


def _report_remote(network: Any, rows: list[ReportRow]) -> None:
    """Controls that reach beyond the element's own bus, or move a tap."""
    remote = np.array(
        [
            row["regulated_bus"] not in (None, 0, row["bus"]) and bool(row["in_service"])
            for row in network.generators
        ],
        dtype=bool,
    )
    if remote.any():
        ids = tuple(str(k + 1) for k in range(remote.size))
        note = "regulates another bus in the file; here it holds its set point at its own bus"
        rows.append(report_row(Fate.REFUSED, "remote voltage control", remote, ids, note))
    moving = np.array([bool(row["control"]) for row in network.branches], dtype=bool)
    if moving.any():
        ids = tuple(str(k + 1) for k in range(moving.size))
        note = "automatic tap or phase control; the position of the file is kept"
        rows.append(report_row(Fate.REFUSED, "tap control", moving, ids, note))


def _fused(
    buses: Buses, switches: Rows, bus_of: dict[int, int], live: Bools, rows: list[ReportRow]
) -> Buses:
    """Closed switches make their buses one substation; open ones are left out."""
    if not switches:
        return buses
    node = buses.node.copy()
    keys = ("from", "to") if "from" in switches[0] else ("from_id", "to_id")
    closed = [s for s in switches if s.get("closed", s.get("in_service", True))]
    for switch in closed:
        one, two = _positions("switch", [switch[key] for key in keys], bus_of)
        if live[one] and live[two]:
            node[node == node[two]] = node[one]
    for fate, kind, count, note in (
        (Fate.MAPPED, "closed switch", len(closed), "its two buses are one substation"),
        (Fate.REFUSED, "open switch", len(switches) - len(closed), "cannot be closed here"),
    ):
        if count:
            rows.append(ReportRow(fate=fate, kind=kind, count=count, note=note))
    return replace(buses, node=node)


def _with_three_windings(
    parts: Parts,
    items: Rows,
    bus_of: dict[int, int],
    live: Bools,
    tables: MatpowerTables,
    rows: list[ReportRow],
) -> Parts:
    """Add a star point and three legs per three-winding transformer."""
    if not items:
        return parts
    n_bus = len(parts.buses.id)
    legs = [
        _legs(k, item, n_bus + k, bus_of, live, tables.base_mva) for k, item in enumerate(items)
    ]
    n = len(items)
    first = np.array([bus_of[item["windings"][0]["bus"]] for item in items])
    names = tuple((item["name"] or "").strip() or f"star {k + 1}" for k, item in enumerate(items))
    node = parts.buses.node
    buses = Buses(
        id=(*parts.buses.id, *("",) * n),
        name=(*parts.buses.name, *names),
        node=np.concatenate([node, int(node.max()) + 1 + np.arange(n)]),
        vn_kv=np.concatenate([parts.buses.vn_kv, parts.buses.vn_kv[first]]),
        v_min=np.concatenate([parts.buses.v_min, np.zeros(n)]),
        v_max=np.concatenate([parts.buses.v_max, np.full(n, np.inf)]),
        area=(*parts.buses.area, *("",) * n),
    )
    rows.append(ReportRow(fate=Fate.KEPT, kind="trafo3w", count=n, note=""))
    return replace(parts, buses=buses, branches=stack([parts.branches, *legs]))


def _legs(
    k: int, item: dict[str, Any], star: int, bus_of: dict[int, int], live: Bools, base: float
) -> Branches:
    """Legs from each winding's bus to the star point; impedances from the three pairs.

    Pairs come in the order 1-2, 2-3, 3-1 on the system base; each leg has its winding's ratio at
    the bus and the magnetising admittance lies at the bus of winding 1 (PSS/E Program Operation
    Manual, transformer data).
    """
    z12, z23, z31 = (complex(pair["r"], pair["x"]) for pair in item["z"])
    series = np.array([z12 + z31 - z23, z12 + z23 - z31, z23 + z31 - z12]) / 2
    windings = item["windings"]
    tap = np.array([float(w["tap"]) or 1.0 for w in windings])
    shift = np.deg2rad([float(w["shift"]) for w in windings])
    rate = np.array([float(w["rate_a"]) for w in windings])
    magnetising = complex(item["mag_g"], item["mag_b"])
    ident = str(k + 1)
    if not (np.isfinite(series).all() and np.isfinite(tap).all() and np.isfinite(shift).all()):
        raise GridError(f"trafo3w {ident}: an impedance, ratio or angle is not a finite number.")
    if (series == 0).any() or (tap <= 0).any() or not np.isfinite(magnetising):
        raise GridError(
            f"trafo3w {ident} ({item['name']}): a winding has no impedance (p.u.) or no positive "
            "ratio. Correct its R1-2, X1-2, ... and WINDV1, ..."
        )
    if (rate < 0).any() or np.isnan(rate).any():
        raise GridError(f"trafo3w {ident}: a rating (MVA) is negative or NaN. Write 0 for none.")
    at = _positions("trafo3w", [w["bus"] for w in windings], bus_of)
    on = np.array(item["extras"].get("winding_in_service", (True,) * 3), dtype=bool)
    on &= bool(item["in_service"]) & live[at]
    y_from = np.array([magnetising * tap[0] ** 2, 0, 0], dtype=np.complex128)
    nothing = np.zeros(3, dtype=np.complex128)
    y_ff, y_ft, y_tf, y_tt = pi_model(
        (1 / series).astype(np.complex128), y_from, nothing, tap * np.exp(1j * shift)
    )
    x_dc = np.where(series.imag == 0, np.abs(series), series.imag)
    unlimited = np.full(3, np.inf)
    return Branches(
        kind=("trafo3w",) * 3,
        id=(ident,) * 3,
        name=((item["name"] or "").strip(),) * 3,
        from_bus=at,
        to_bus=np.full(3, star),
        y_ff=y_ff,
        y_ft=y_ft,
        y_tf=y_tf,
        y_tt=y_tt,
        b_dc=1 / (x_dc * tap),
        shift_dc=shift,
        i_max_from=unlimited,
        i_max_to=unlimited,
        s_max=np.where(rate == 0, np.inf, rate / base),
        angle_min=-unlimited,
        angle_max=unlimited,
        closed=on,
        from_busbar=live[at].astype(np.int8),
        to_busbar=np.ones(3, dtype=np.int8),
    )
