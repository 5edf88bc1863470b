"""Small pandapower nets, each full of one kind of trouble; the built-in networks avoid most of it.

Every function returns a fresh net that ``pandapower.runpp`` solves. `ZOO` lists them; a new kind
of trouble is one more function here, and every reader and solver is then tested on it.
"""

import numpy as np
import pandapower as pp
import pandas as pd


def _ring(n=4, kv=110.0, **options):
    """A meshed ring with an external grid at its first bus and a load at each other one."""
    net = pp.create_empty_network(**options)
    for k in range(n):
        pp.create_bus(net, kv, name=f"b{k}")
    for k in range(n):
        pp.create_line_from_parameters(
            net, k, (k + 1) % n, 12.0 + k, 0.06, 0.38, 9.5 + k, 0.55, g_us_per_km=0.1, name=f"l{k}"
        )
    pp.create_ext_grid(net, 0, vm_pu=1.01)
    for k in range(1, n):
        pp.create_load(net, k, 12.0 + 3 * k, 4.0 - k, name=f"load {k}")
    return net


TRAFO = {
    "sn_mva": 40.0,
    "vn_hv_kv": 112.0,
    "vn_lv_kv": 21.0,
    "vkr_percent": 0.4,
    "vk_percent": 11.0,
    "pfe_kw": 28.0,
    "i0_percent": 0.3,
}


def _below(net, hv, kv=20.0, p=6.0, **changes):
    """A loaded bus behind a transformer."""
    lv = pp.create_bus(net, kv)
    pp.create_load(net, lv, p, 0.3 * p)
    pp.create_transformer_from_parameters(net, hv, lv, **(TRAFO | changes))
    return lv


def tap_changers():
    """Ratio, symmetrical and ideal tap changers on either side, a second one, and none."""
    net = _ring()
    common = {"tap_neutral": 0, "tap_min": -9, "tap_max": 9}
    for side in ("hv", "lv"):
        for kind, step in (
            ("Ratio", {"tap_step_percent": 1.5}),
            ("Ratio", {"tap_step_percent": 1.5, "tap_step_degree": 30.0}),
            ("Symmetrical", {"tap_step_percent": 1.2, "tap_step_degree": 90.0}),
            ("Ideal", {"tap_step_degree": 1.7}),
            ("Ideal", {"tap_step_percent": 1.1}),
        ):
            _below(net, 1, tap_side=side, tap_pos=-3, tap_changer_type=kind, **step, **common)
    _below(net, 2, tap_side="hv", tap_pos=4, tap_step_percent=1.5, **common)  # no kind: ignored
    lv = _below(
        net,
        3,
        tap_side="hv",
        tap_pos=4,
        tap_step_percent=1.5,
        tap_changer_type="Ratio",
        tap2_side="lv",
        tap2_pos=-2,
        tap2_neutral=0,
        tap2_step_percent=0.9,
        tap2_step_degree=0.0,
        tap2_changer_type="Ratio",
        **common,
    )
    # in a loop, with a phase shift that drives a circulating flow
    pp.create_transformer_from_parameters(net, 2, lv, **(TRAFO | {"shift_degree": 1.0}))
    return net


def transformer_ratings():
    """Parallel units, rating factor, phase shift, no magnetising branch, unequal leakage."""
    net = _ring(sn_mva=100.0)
    _below(net, 1, parallel=3, df=0.8, shift_degree=150.0)
    _below(net, 2, pfe_kw=0.0, i0_percent=0.0)
    _below(net, 3, vn_hv_kv=105.0, vn_lv_kv=19.0, i0_percent=0.0)
    net.trafo["leakage_resistance_ratio_hv"] = [0.5, 0.5, 0.3]
    net.trafo["leakage_reactance_ratio_hv"] = [0.3, 0.5, 0.7]
    return net


def unequal_lines():
    """Parallel lines, shunt conductance, a rating factor, another base power and frequency."""
    net = _ring(n=5, sn_mva=100.0, f_hz=60.0)
    pp.create_line_from_parameters(
        net, 0, 2, 40.0, 0.1, 0.4, 200.0, 0.4, g_us_per_km=5.0, parallel=3, df=0.7
    )
    net.line.loc[1, "in_service"] = False
    return net


def _trafo3w(net, hv, mv, lv, **changes):
    values = {
        "vn_hv_kv": 110.0,
        "vn_mv_kv": 21.0,
        "vn_lv_kv": 10.5,
        "sn_hv_mva": 63.0,
        "sn_mv_mva": 40.0,
        "sn_lv_mva": 25.0,
        "vk_hv_percent": 10.4,
        "vk_mv_percent": 11.4,
        "vk_lv_percent": 12.4,
        "vkr_hv_percent": 0.28,
        "vkr_mv_percent": 0.32,
        "vkr_lv_percent": 0.35,
        "pfe_kw": 35.0,
        "i0_percent": 0.4,
        "shift_mv_degree": 30.0,
        "shift_lv_degree": -150.0,
        "tap_neutral": 0,
        "tap_step_percent": 1.3,
        "tap_step_degree": 4.0,
        "tap_pos": 3,
        "tap_changer_type": "Ratio",
    }
    return pp.create_transformer3w_from_parameters(net, hv, mv, lv, **(values | changes))


def three_windings():
    """Taps on each winding, at its terminal and at the star point; one leg off, one whole unit."""
    net = _ring()
    for side in ("hv", "mv", "lv"):
        for at_star in (False, True):
            mv, lv = pp.create_bus(net, 20.0), pp.create_bus(net, 10.0)
            pp.create_load(net, mv, 9.0, 2.0)
            pp.create_sgen(net, lv, 5.0, -1.0)
            _trafo3w(net, 1, mv, lv, tap_side=side, tap_at_star_point=at_star)
    mv, lv = pp.create_bus(net, 20.0), pp.create_bus(net, 10.0)
    open_leg = _trafo3w(net, 2, mv, lv, tap_side="hv", loss_side="mv")
    pp.create_switch(net, lv, open_leg, "t3", closed=False)
    pp.create_load(net, mv, 9.0, 2.0)
    _trafo3w(net, 3, mv, lv, tap_side="hv", in_service=False)
    mv, lv = pp.create_bus(net, 20.0), pp.create_bus(net, 10.0, in_service=False)
    _trafo3w(net, 3, mv, lv, tap_side=None)
    pp.create_load(net, mv, 9.0, 2.0)
    net.trafo3w["loss_side"] = net.trafo3w["loss_side"].fillna("hv")
    return net


def wards():
    """Wards and extended wards, alive, out of service, and at a dead bus."""
    net = _ring()
    dead = pp.create_bus(net, 110.0, in_service=False)
    for bus, alive in ((1, True), (2, False), (dead, True)):
        pp.create_ward(net, bus, 3.0, 1.0, 2.0, -1.5, in_service=alive)
        pp.create_xward(net, bus, 2.0, 0.7, 1.0, 0.5, 1.2, 9.0, 1.02, in_service=alive)
    pp.create_xward(net, 3, 0.0, 0.0, 0.0, 0.0, 0.0, 20.0, 0.99)
    return net


def open_ends():
    """Switches at lines and transformers: open at one end, at both, and more than one at an end."""
    net = _ring(n=6)
    for k, ends in enumerate(((0, 2), (2, 4), (1, 3))):
        line = pp.create_line_from_parameters(net, *ends, 30.0 + k, 0.06, 0.4, 9.0, 0.6)
        for end in ends if k == 2 else ends[k : k + 1]:
            pp.create_switch(net, end, line, "l", closed=False)
    pp.create_switch(net, 0, 6, "l", closed=False)  # line 6 = 0-2 has two switches at bus 0
    pp.create_switch(net, 4, 4, "l", closed=True)
    lv = _below(net, 5, kv=20.0)
    for hv, bus in ((3, 3), (4, lv)):
        trafo = pp.create_transformer_from_parameters(net, hv, lv, **TRAFO)
        pp.create_switch(net, bus, trafo, "t", closed=False)
    return net


def dead_buses():
    """Buses out of service beside lines, a transformer, a load, a generator and switches."""
    net = _ring(n=5)
    dead = [pp.create_bus(net, 110.0, in_service=False) for _ in range(3)]
    for bus, end in ((1, dead[0]), (dead[1], 2), (dead[0], dead[1])):
        pp.create_line_from_parameters(net, bus, end, 25.0, 0.06, 0.4, 9.0, 0.6)
    pp.create_load(net, dead[0], 50.0, 5.0)
    pp.create_gen(net, dead[1], 10.0, vm_pu=1.05)
    pp.create_shunt(net, dead[0], 10.0)
    lv = pp.create_bus(net, 20.0, in_service=False)
    pp.create_transformer_from_parameters(net, 3, lv, **TRAFO)
    pp.create_switch(net, 4, dead[2], "b", closed=True)
    pp.create_impedance(net, 4, dead[2], 0.01, 0.05, 50.0)
    return net


def islands():
    """Two supplied islands, and two that no reference supplies, one of them with a generator."""
    net = _ring()
    for with_slack in (True, False):
        a, b = pp.create_bus(net, 110.0), pp.create_bus(net, 110.0)
        pp.create_line_from_parameters(net, a, b, 20.0, 0.06, 0.4, 9.0, 0.6)
        pp.create_gen(net, a, 7.0, vm_pu=1.02, slack=with_slack)
        pp.create_load(net, b, 5.0, 1.0)
    alone = pp.create_bus(net, 110.0)
    pp.create_load(net, alone, 5.0, 1.0)
    return net


def several_references():
    """External grids with different angles, one more at a bus with a slack generator, one off."""
    net = _ring(n=6)
    pp.create_ext_grid(net, 3, vm_pu=1.02, va_degree=4.0, slack_weight=2.0)
    pp.create_gen(net, 3, 5.0, vm_pu=1.02, slack=True)
    pp.create_ext_grid(net, 4, vm_pu=0.9, va_degree=-30.0, in_service=False)
    net.ext_grid.loc[0, "va_degree"] = 2.5
    return net


def generators():
    """Scaling, limits, two at one bus, one out of service."""
    net = _ring(n=5)
    limits = {"min_p_mw": 0.0, "max_p_mw": 60.0, "min_q_mvar": -20.0, "max_q_mvar": 25.0}
    pp.create_gen(net, 1, 20.0, vm_pu=1.02, scaling=0.8, **limits)
    pp.create_gen(net, 1, 10.0, vm_pu=1.02)
    pp.create_gen(net, 2, 30.0, vm_pu=1.03, in_service=False)
    pp.create_gen(net, 3, 12.0, vm_pu=1.0, slack_weight=1.0)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.95, 1.08
    return net


def voltage_dependent_loads():
    """ZIP loads: different shares at one bus, beside generation, and at buses that are fused."""
    net = _ring(n=5)
    shares = {
        "const_z_p_percent": 30.0,
        "const_i_p_percent": 20.0,
        "const_z_q_percent": 10.0,
        "const_i_q_percent": 60.0,
    }
    pp.create_load(net, 1, 20.0, 8.0, **shares, scaling=0.9)
    pp.create_load(net, 2, 10.0, 3.0, const_z_p_percent=100.0, const_z_q_percent=100.0)
    pp.create_sgen(net, 2, 6.0, 2.0)
    pp.create_load(net, 3, 9.0, 3.0, **shares, in_service=False)
    pp.create_motor(net, 2, 3.0, 0.85, efficiency_percent=92.0, loading_percent=80.0)
    twin = pp.create_bus(net, 110.0)
    pp.create_load(net, twin, 11.0, 2.0, const_i_p_percent=50.0)
    pp.create_switch(net, 4, twin, "b")
    return net


def bus_switches():
    """Fused buses, open and closed switches with an impedance, a line inside a fused group."""
    net = _ring(n=5)
    twins = [pp.create_bus(net, 110.0, name=f"twin {k}") for k in range(4)]
    for k, (bus, z_ohm, closed) in enumerate(
        ((1, 0.0, True), (2, 0.5, True), (3, 0.5, False), (4, 0.0, False))
    ):
        pp.create_switch(net, bus, twins[k], "b", closed=closed, z_ohm=z_ohm)
        pp.create_load(net, twins[k], 4.0, 1.0)
    pp.create_line_from_parameters(net, 3, twins[2], 5.0, 0.06, 0.4, 9.0, 0.6)
    inside = pp.create_line_from_parameters(net, 1, twins[0], 5.0, 0.06, 0.4, 9.0, 0.6)
    half = pp.create_line_from_parameters(net, 1, twins[0], 8.0, 0.06, 0.4, 9.0, 0.6)
    assert inside != half
    pp.create_switch(net, twins[0], half, "l", closed=False)
    return net


def dc_lines():
    """DC lines in both directions, one out of service."""
    net = _ring(n=6)
    pp.create_dcline(net, 1, 3, 15.0, 2.0, 0.4, 1.01, 1.02, max_p_mw=40.0)
    pp.create_dcline(net, 4, 5, -8.0, 1.0, 0.2, 1.0, 1.01)
    pp.create_dcline(net, 2, 5, 8.0, 1.0, 0.2, 1.0, 1.01, in_service=False)
    pp.create_gen(net, 2, 5.0, vm_pu=1.02)
    return net


def asymmetric_impedances():
    """Impedances that differ by direction, with unequal shunts, on a base of their own."""
    net = _ring(sn_mva=10.0)
    pp.create_impedance(
        net, 0, 2, 0.02, 0.11, 60.0, 0.03, 0.13, gf_pu=0.01, bf_pu=0.02, gt_pu=0.03, bt_pu=-0.01
    )
    pp.create_impedance(net, 1, 3, 0.02, 0.11, 60.0, in_service=False)
    return net


def mixed_injections():
    """Motors, storages, unbalanced loads and generators, scaled and switched off."""
    net = _ring(n=5)
    for k, alive in ((1, True), (2, False)):
        pp.create_motor(
            net, k, 4.0, 0.87, efficiency_percent=93.0, loading_percent=75.0, in_service=alive
        )
        pp.create_storage(net, k, -3.0, 10.0, q_mvar=0.6, scaling=0.5, in_service=alive)
        pp.create_asymmetric_load(
            net, k, 1.0, 1.5, 2.0, 0.3, 0.2, 0.4, scaling=1.1, in_service=alive
        )
        pp.create_asymmetric_sgen(net, k, 0.4, 0.5, 0.6, 0.1, 0.1, 0.2, in_service=alive)
        pp.create_sgen(net, k, 5.0, -1.0, scaling=0.7, in_service=alive)
    return net


def shunts():
    """Steps, a rated voltage of its own, losses, a step table, one out of service."""
    net = _ring(n=5)
    pp.create_shunt(net, 1, -8.0, 0.1, step=2, max_step=4)
    pp.create_shunt(net, 2, 5.0, 0.2, vn_kv=120.0)
    pp.create_shunt(net, 3, 5.0, in_service=False)
    net["shunt_characteristic_table"] = pd.DataFrame(
        {
            "id_characteristic": [0, 0, 0],
            "step": [1, 2, 3],
            "q_mvar": [-3.0, -7.0, -12.0],
            "p_mw": [0.1, 0.15, 0.3],
        }
    )
    pp.create_shunt(
        net, 4, -1.0, step=2, max_step=3, step_dependency_table=True, id_characteristic_table=0
    )
    return net


def tap_tables():
    """Transformers whose ratio, angle and impedance come from a table."""
    net = _ring(n=5)
    steps = np.arange(-2, 3)
    columns = {"step": steps, "voltage_ratio": 1 + 0.016 * steps, "angle_deg": 1.5 * steps}
    two = pd.DataFrame(
        columns | {"id_characteristic": 0, "vk_percent": 11.0 - 0.2 * steps, "vkr_percent": 0.4}
    )
    three = pd.DataFrame(
        columns
        | {"id_characteristic": 1}
        | {f"vk_{side}_percent": 10.5 - 0.1 * steps for side in ("hv", "mv", "lv")}
        | {f"vkr_{side}_percent": 0.3 for side in ("hv", "mv", "lv")}
    )
    net["trafo_characteristic_table"] = pd.concat([two, three], ignore_index=True)
    table = {
        "tap_neutral": 0,
        "tap_step_percent": 1.6,
        "tap_changer_type": "Tabular",
        "tap_dependency_table": True,
    }
    for side, position in (("hv", 2), ("lv", -1)):
        _below(net, 2, tap_side=side, tap_pos=position, id_characteristic_table=0, **table)
    mv, lv = pp.create_bus(net, 20.0), pp.create_bus(net, 10.0)
    pp.create_load(net, mv, 9.0, 2.0)
    _trafo3w(
        net, 3, mv, lv, tap_side="hv", **(table | {"tap_pos": 1, "id_characteristic_table": 1})
    )
    return net


def wild_indices():
    """Indices with gaps and out of order, names that repeat, are empty or are odd."""
    net = pp.create_empty_network(name="wild")
    for index, name in ((70, "A"), (3, "A"), (500, None), (12, "<b>&'\"\u00e9")):
        pp.create_bus(net, 20.0, index=index, name=name)
    for k, (index, ends) in enumerate(((9, (70, 3)), (2, (500, 3)), (33, (12, 500)))):
        pp.create_line_from_parameters(net, *ends, 2.0 + k, 0.3, 0.3, 200.0, 0.3, index=index)
    pp.create_ext_grid(net, 70, vm_pu=1.0, index=8)
    for bus, index in ((12, 44), (3, 1), (500, 9)):
        pp.create_load(net, bus, 0.7, 0.2, index=index)
    pp.create_switch(net, 500, 33, "l", closed=True, index=21)
    return net


ZOO = (
    tap_changers,
    transformer_ratings,
    unequal_lines,
    three_windings,
    wards,
    open_ends,
    dead_buses,
    islands,
    several_references,
    generators,
    voltage_dependent_loads,
    bus_switches,
    dc_lines,
    asymmetric_impedances,
    mixed_injections,
    shunts,
    tap_tables,
    wild_indices,
)
