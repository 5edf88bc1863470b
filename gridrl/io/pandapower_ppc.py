"""What pandapower itself would put into its equations, for every element of a net.

Element parameters (taps, phase shifters, magnetising branches, tables) are built by
pandapower's own code, so that our two-ports equal what ``runpp`` solves. Its public
converter is no help here: it leaves out asymmetric shunts and conductances. Unlike
``runpp``, switched-off and out-of-service branches get parameters too.

A *ppc row* is pandapower's number for a bus after closed bus-bus switches have been fused;
the rows of star points follow those of the buses.
"""

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandapower as pp
from numpy.typing import NDArray
from pandapower.auxiliary import _add_auxiliary_elements, _init_runpp_options
from pandapower.build_branch import _build_branch_ppc
from pandapower.build_bus import _build_bus_ppc, _calc_pq_elements_and_add_on_ppc
from pandapower.pd2ppc import _init_ppc
from pandapower.pypower import idx_brch, idx_bus

from gridrl.errors import CaseError, GridError, offending
from gridrl.grid import Bools, Complexes, Floats, Ints

# Units whose bus must be in service for them to be so
ON_BUS = (
    "load motor sgen asymmetric_load asymmetric_sgen gen ward xward shunt ext_grid storage "
    "svc ssc vsc"
).split()
FOREIGN = (KeyError, IndexError, TypeError, ValueError, ArithmeticError, UserWarning, RuntimeError)


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """pandapower's own view of a net, with each branch row mapped to a table row."""

    net: Any  # private copy; DC lines already turned into two generators each
    options: dict[str, Any]
    row_of_bus: Ints  # [max bus index + 1] ppc row, -1 where there is no such bus
    rows: Ints  # [n_substation] ppc rows in use: real nodes, then star points
    vn_kv: Floats  # [n_substation]
    is_star: Bools  # [n_substation]
    n_gen: int  # generators of the input; the DC lines' follow them
    branch_rows: dict[str, tuple[int, int]]  # table -> slice of the arrays below
    from_substation: Ints  # [n_row]
    to_substation: Ints  # [n_row]
    y: Complexes  # [4, n_row] y_ff, y_ft, y_tf, y_tt in p.u.
    b_dc: Floats  # [n_row] p.u.
    shift_dc: Floats  # [n_row] rad
    zip_share: Floats  # [4, n_substation] i_p, i_q, z_p, z_q of everything with constant power

    def substation_of(self, bus: Any) -> Ints:
        """Substation index of each bus index."""
        rows = self.row_of_bus[np.asarray(bus, dtype=np.int64)]
        return np.searchsorted(self.rows, rows).astype(np.int64)

    def bus_in_service(self, bus: Any) -> Bools:
        alive = np.zeros(self.row_of_bus.size, dtype=bool)
        alive[self.net.bus.index.to_numpy()] = self.net.bus.in_service.to_numpy(dtype=bool)
        return alive[np.asarray(bus, dtype=np.int64)]


def build_model(own: Any, *, voltage_angles: bool) -> Model:
    """Let pandapower compute the parameters of ``own``, a private copy that is written to.

    ``voltage_angles`` is runpp's ``calculate_voltage_angles``: without it transformer phase
    shifts and the angles of external grids are ignored.

    Raises
    ------
    CaseError
        pandapower cannot make sense of the net.
    GridError
        A branch has no or no finite impedance.
    """
    n_gen = len(own.gen)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _set_options(own, voltage_angles)
            _add_auxiliary_elements(own)
            ppc = _build_ppc(own)
    except FOREIGN as error:
        raise CaseError(
            f"pandapower cannot build the equations of this network: {type(error).__name__}: "
            f"{error}. `pandapower.diagnostic(net)` may tell more."
        ) from error
    return _to_model(own, ppc, n_gen)


def _set_options(net: Any, voltage_angles: bool) -> None:
    """``runpp``'s defaults, overruled by the net's own ``user_pf_options`` as ``runpp`` does."""
    accepted = inspect.signature(_init_runpp_options).parameters
    defaults = {
        key: value.default
        for key, value in inspect.signature(pp.runpp).parameters.items()
        if key in accepted and value.default is not inspect.Parameter.empty
    }
    defaults |= {"calculate_voltage_angles": voltage_angles, "init": "flat"}
    own = net.get("user_pf_options") or {}
    net.user_pf_options = {key: own[key] for key in own if not key.startswith("init")}
    _init_runpp_options(net, **defaults, passed_parameters={}, numba=False, lightsim2grid=False)
    options = net["_options"]
    # Numba would be compiled anew in every process, for seconds, to fuse a few buses
    options.update(numba=False, init_vm_pu="flat", init_va_degree="flat", init_results=False)
    if options["tdpf"]:
        raise ValueError("user_pf_options asks for tdpf (line temperatures): not supported")
    if str(options["trafo3w_losses"]).lower() == "star" and "loss_side" not in net.trafo3w:
        raise ValueError("user_pf_options sets trafo3w_losses='star'; use 'hv', 'mv' or 'lv'")


def _build_ppc(net: Any) -> dict[str, Any]:
    empty = np.array([], dtype=np.int64)
    keys = ("bus", "bus_dc", "ext_grid", "gen", "branch", "branch_dc")
    net["_pd2ppc_lookups"] = dict.fromkeys(keys, empty)
    alive = net.bus.index[net.bus.in_service.to_numpy(dtype=bool)]
    net["_is_elements"] = {
        table: net[table].in_service.to_numpy(dtype=bool) & net[table].bus.isin(alive).to_numpy()
        for table in ON_BUS
    }
    net["_is_elements"]["bus_is_idx"] = alive.to_numpy()
    net["_is_elements"]["line_is_idx"] = net.line.index[net.line.in_service.to_numpy(dtype=bool)]
    ppc: dict[str, Any] = _init_ppc(net, mode="pf")
    _build_bus_ppc(net, ppc)
    # Bus-bus switches with an impedance are ours: pandapower has no rows for the open ones
    net["_impedance_bb_switches"] = np.zeros(len(net.switch), dtype=bool)
    _build_branch_ppc(net, ppc)
    if net["_options"]["voltage_depend_loads"]:
        _calc_pq_elements_and_add_on_ppc(net, ppc)
    return ppc


def _to_model(net: Any, ppc: dict[str, Any], n_gen: int) -> Model:
    lookup = net["_pd2ppc_lookups"]
    row_of_bus: Ints = np.asarray(lookup["bus"], dtype=np.int64)
    stars = [lookup["aux"][key] for key in ("xward", "trafo3w") if key in lookup["aux"]]
    star_rows = row_of_bus[np.concatenate(stars)] if stars else np.array([], dtype=np.int64)
    real_rows = np.unique(row_of_bus[net.bus.index.to_numpy()])
    rows = np.concatenate([real_rows, np.sort(star_rows)]).astype(np.int64)
    branch = ppc["branch"].real
    bus = ppc["bus"]
    shares = (idx_bus.CID_P, idx_bus.CID_Q, idx_bus.CZD_P, idx_bus.CZD_Q)
    branch_rows = dict(lookup["branch"])
    y, b_dc, shift_dc = two_ports(branch)
    _check_impedances(net, branch, y, branch_rows)
    return Model(
        net=net,
        options=net["_options"],
        row_of_bus=row_of_bus,
        rows=rows,
        vn_kv=bus[rows, idx_bus.BASE_KV],
        is_star=np.arange(rows.size) >= real_rows.size,
        n_gen=n_gen,
        branch_rows=branch_rows,
        from_substation=np.searchsorted(rows, branch[:, idx_brch.F_BUS].astype(np.int64)),
        to_substation=np.searchsorted(rows, branch[:, idx_brch.T_BUS].astype(np.int64)),
        y=y,
        b_dc=b_dc,
        shift_dc=shift_dc,
        zip_share=np.stack([bus[rows, column] for column in shares]),
    )


def two_ports(branch: NDArray[np.float64]) -> tuple[Complexes, Floats, Floats]:
    """Two-port admittances and DC model of ppc branch rows, all taken as in service.

    The asymmetric MATPOWER branch, as in ``pandapower.pypower.makeYbus`` and ``makeBdc``.
    """
    with np.errstate(all="ignore"):
        z_f = branch[:, idx_brch.BR_R] + 1j * branch[:, idx_brch.BR_X]
        z_t = z_f + branch[:, idx_brch.BR_R_ASYM] + 1j * branch[:, idx_brch.BR_X_ASYM]
        shunt_f = branch[:, idx_brch.BR_G] + 1j * branch[:, idx_brch.BR_B]
        shunt_t = shunt_f + branch[:, idx_brch.BR_G_ASYM] + 1j * branch[:, idx_brch.BR_B_ASYM]
        ratio = np.where(branch[:, idx_brch.TAP] == 0.0, 1.0, branch[:, idx_brch.TAP])
        shift = np.deg2rad(branch[:, idx_brch.SHIFT])
        tap = ratio * np.exp(1j * shift)
        y = np.stack(
            [
                (1 / z_f + shunt_f / 2) / ratio**2,
                -1 / z_f / tap.conj(),
                -1 / z_t / tap,
                1 / z_t + shunt_t / 2,
            ]
        )
        x = branch[:, idx_brch.BR_X]
        # rundcpp fails on x = 0; |z| keeps such a branch connected in the DC model
        b_dc = 1.0 / (np.where(x == 0.0, np.abs(z_f), x) * ratio)
    return y, b_dc, shift


def _check_impedances(
    net: Any, branch: NDArray[np.float64], y: Complexes, branch_rows: dict[str, tuple[int, int]]
) -> None:
    """Refuse branches whose impedance is zero or no number, by name."""
    zero = (branch[:, idx_brch.BR_R] == 0.0) & (branch[:, idx_brch.BR_X] == 0.0)
    broken = ~np.isfinite(y).all(axis=0) & ~zero
    for mask, what, way_out in (
        (zero, "zero series impedance", "Use a closed bus-bus switch instead, or give r and x."),
        (broken, "no finite impedance", "Check r, x, vk_percent, vkr_percent, taps and ratings."),
    ):
        for table, (start, stop) in branch_rows.items():
            bad = mask[start:stop]
            if bad.any():
                index = [*net[table].index] * (3 if table == "trafo3w" else 1)
                names = [f"{table}:{k}" for k in index]
                raise GridError(
                    f"{bad.sum()} {table} have {what}: {offending(bad, names)}. {way_out}"
                )
