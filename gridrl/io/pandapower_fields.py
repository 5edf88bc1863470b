"""Which fields of a pandapower net must hold what: data for `gridrl.io.pandapower_check`.

Field -> (unit, rule), with the rules ``finite``, ``positive``, ``nonzero``,
``fraction`` (0..1), ``percent`` (0..100) and ``known`` (finite or not given).
"""

_PQ = {"p_mw": ("MW", "finite"), "q_mvar": ("Mvar", "finite"), "scaling": ("-", "finite")}
_PHASES = {
    f"{quantity}_{phase}_{unit}": (unit, "finite")
    for phase in "abc"
    for quantity, unit in (("p", "mw"), ("q", "mvar"))
}
_TAP = {
    f"tap{k}_{field}": (unit, "known")
    for k in ("", "2")
    for field, unit in (
        ("pos", "-"),
        ("neutral", "-"),
        ("step_percent", "%"),
        ("step_degree", "degree"),
    )
}
_WARD = {
    "ps_mw": ("MW", "finite"),
    "qs_mvar": ("Mvar", "finite"),
    "pz_mw": ("MW", "finite"),
    "qz_mvar": ("Mvar", "finite"),
}

FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "bus": {"vn_kv": ("kV", "positive")},
    "line": {
        "length_km": ("km", "positive"),
        "r_ohm_per_km": ("ohm/km", "finite"),
        "x_ohm_per_km": ("ohm/km", "finite"),
        "c_nf_per_km": ("nF/km", "finite"),
        "g_us_per_km": ("uS/km", "finite"),
        "max_i_ka": ("kA", "known"),
        "df": ("-", "positive"),
        "parallel": ("-", "positive"),
    },
    "trafo": {
        "sn_mva": ("MVA", "positive"),
        "vn_hv_kv": ("kV", "positive"),
        "vn_lv_kv": ("kV", "positive"),
        "vk_percent": ("%", "nonzero"),
        "vkr_percent": ("%", "finite"),
        "pfe_kw": ("kW", "finite"),
        "i0_percent": ("%", "finite"),
        "shift_degree": ("degree", "finite"),
        "df": ("-", "positive"),
        "parallel": ("-", "positive"),
        **_TAP,
    },
    "trafo3w": {
        **{f"sn_{side}_mva": ("MVA", "positive") for side in ("hv", "mv", "lv")},
        **{f"vn_{side}_kv": ("kV", "positive") for side in ("hv", "mv", "lv")},
        **{f"vk_{side}_percent": ("%", "nonzero") for side in ("hv", "mv", "lv")},
        **{f"vkr_{side}_percent": ("%", "finite") for side in ("hv", "mv", "lv")},
        "pfe_kw": ("kW", "finite"),
        "i0_percent": ("%", "finite"),
        "shift_mv_degree": ("degree", "finite"),
        "shift_lv_degree": ("degree", "finite"),
        **_TAP,
    },
    "impedance": {
        **{f"{q}{ends}_pu": ("p.u.", "finite") for q in "rx" for ends in ("ft", "tf")},
        **{f"{q}{end}_pu": ("p.u.", "finite") for q in "gb" for end in "ft"},
        "sn_mva": ("MVA", "positive"),
    },
    "switch": {"z_ohm": ("ohm", "known")},
    "ext_grid": {"vm_pu": ("p.u.", "positive"), "va_degree": ("degree", "finite")},
    "gen": {
        "p_mw": ("MW", "finite"),
        "vm_pu": ("p.u.", "positive"),
        "scaling": ("-", "finite"),
    },
    "dcline": {
        "p_mw": ("MW", "finite"),
        "loss_percent": ("%", "finite"),
        "loss_mw": ("MW", "finite"),
        "vm_from_pu": ("p.u.", "positive"),
        "vm_to_pu": ("p.u.", "positive"),
    },
    "load": {
        **_PQ,
        **{
            f"const_{kind}_{quantity}_percent": ("%", "percent")
            for kind in "zi"
            for quantity in "pq"
        },
    },
    "sgen": _PQ,
    "storage": _PQ,
    "motor": {
        "pn_mech_mw": ("MW", "finite"),
        "loading_percent": ("%", "finite"),
        "efficiency_percent": ("%", "positive"),
        "cos_phi": ("-", "fraction"),
        "scaling": ("-", "finite"),
    },
    "asymmetric_load": {**_PHASES, "scaling": ("-", "finite")},
    "asymmetric_sgen": {**_PHASES, "scaling": ("-", "finite")},
    "shunt": {
        "p_mw": ("MW", "finite"),
        "q_mvar": ("Mvar", "finite"),
        "step": ("-", "finite"),
        "vn_kv": ("kV", "known"),
    },
    "ward": _WARD,
    "xward": {
        **_WARD,
        "r_ohm": ("ohm", "finite"),
        "x_ohm": ("ohm", "finite"),
        "vm_pu": ("p.u.", "positive"),
    },
}

# Columns that pandapower itself can do without
OPTIONAL = frozenset(_TAP) | {"tap_dependency_table", "step_dependency_table"}

# Columns of several tables that may be missing, empty or infinite, but never hold text
NUMBERS = frozenset(
    f"{end}_{quantity}"
    for end in ("min", "max")
    for quantity in ("p_mw", "q_mvar", "vm_pu", "loading_percent")
) | {"slack_weight", "in_ka"}

# Tables that elements look values up in, and the columns they need there
LOOKED_UP = {
    "shunt": (
        "step_dependency_table",
        "shunt_characteristic_table",
        ("id_characteristic", "step", "p_mw", "q_mvar"),
    ),
    "trafo": (
        "tap_dependency_table",
        "trafo_characteristic_table",
        ("id_characteristic", "step", "voltage_ratio", "angle_deg", "vk_percent", "vkr_percent"),
    ),
}

_ENDS = ("from_bus", "to_bus")
BUS_FIELDS: dict[str, tuple[str, ...]] = {
    "line": _ENDS,
    "impedance": _ENDS,
    "dcline": _ENDS,
    "trafo": ("hv_bus", "lv_bus"),
    "trafo3w": ("hv_bus", "mv_bus", "lv_bus"),
    "switch": ("bus",),
} | {
    table: ("bus",)
    for table in FIELDS
    if table not in ("bus", "line", "impedance", "dcline", "trafo", "trafo3w", "switch")
}

FLAGS: dict[str, tuple[str, ...]] = {
    table: ("in_service",) for table in FIELDS if table != "switch"
} | {
    "switch": ("closed",),
    "gen": ("in_service", "slack"),
    "trafo": ("in_service", "tap_dependency_table"),
    "trafo3w": ("in_service", "tap_at_star_point", "tap_dependency_table"),
    "shunt": ("in_service", "step_dependency_table"),
}

# What a switch's ``element`` points at, by its ``et``
SWITCHED = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}

_FACTS = "no model of it: the power flow leaves it out"
_DC = "DC grids are not modelled: the power flow leaves them out"
REFUSED = {
    "svc": _FACTS,
    "tcsc": _FACTS,
    "ssc": _FACTS,
    "vsc": _FACTS,
    "vsc_stacked": _FACTS,
    "vsc_bipolar": _FACTS,
    "bus_dc": _DC,
    "line_dc": _DC,
    "load_dc": _DC,
    "source_dc": _DC,
}
