"""One change to a case, as a user writes it: ``{redispatch = "gen:3", p_mw = 120}``.

`parse_edit` reads a table with exactly one verb and its parameters, `apply_edits` makes the edited
`Case`. Powers are in MW and MVAr and have the sign that the element's name suggests: a load draws,
a generator feeds in, a storage charges.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gridrl.case import Case
from gridrl.errors import ElementError, GridrlError, StudyError
from gridrl.whatif.draft import Draft

MAX_FACTOR = 10.0
MAX_TAP_PERCENT = 30.0
_ROUNDING = 1e-6  # a computed 0 MW may come as less


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One verb with its parameters; `parse_edit` makes it, `to_dict` writes it back."""

    verb: str
    element: str = ""  # what it is done to, as `Grid.find_element` understands it
    bus: str = ""  # the bus whose substation is split or merged
    factor: float = math.nan  # of a scaling
    area: str = ""  # scale within this area only
    kind: str = ""  # scale elements of this kind only
    p_mw: float = math.nan
    q_mvar: float = math.nan
    percent: float = math.nan  # of the present rating
    ratio_percent: float = math.nan  # change of the turns ratio
    position: float = math.nan  # of a tap changer
    vm_pu: float = math.nan  # voltage to hold
    step: float = math.nan  # of a shunt, that are on
    busbar2: tuple[str, ...] = ()  # terminals of a split that go to busbar 2
    where: str = ""  # place in the user's file, for messages

    def to_dict(self) -> dict[str, Any]:
        """The table that `parse_edit` reads, ready for JSON and TOML."""
        verb = VERBS[self.verb]
        out: dict[str, Any] = {self.verb: getattr(self, verb.field)}
        for name in verb.parameters:
            value = getattr(self, name)
            if value not in ("", ()) and value == value:
                whole = verb.parameters[name].kind == "whole"
                out[name] = (
                    int(value) if whole else list(value) if isinstance(value, tuple) else value
                )
        return out

    def __str__(self) -> str:
        """The edit in an operator's words."""
        return _WORDS[self.verb](self)


@dataclass(frozen=True)
class _Parameter:
    """What a value must be."""

    kind: str  # "number", "whole", "text" or "list"
    needed: bool = False
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    hint: str = ""  # what to write instead, where the value is out of range


@dataclass(frozen=True)
class _Verb:
    """The value that stands behind a verb, and the parameters beside it."""

    field: str
    main: _Parameter
    parameters: dict[str, _Parameter]
    example: str


_NAME = _Parameter("text", needed=True)
_FACTOR = _Parameter(
    "number", needed=True, low=0.0, high=MAX_FACTOR,
    hint="The factor multiplies: 1.1 is 10 % more, 1 changes nothing.",
)  # fmt: skip
_P = _Parameter("number", needed=True, unit="MW")
_P_LEFT = _Parameter(
    "number", needed=True, low=0.0, unit="MW", hint="It says what remains, so 0 or more."
)
_SCOPE = {"area": _Parameter("text"), "kind": _Parameter("text"), "element": _Parameter("text")}
VERBS: dict[str, _Verb] = {
    "open": _Verb("element", _NAME, {}, '{open = "line:26"}'),
    "close": _Verb("element", _NAME, {}, '{close = "line:26"}'),
    "outage": _Verb("element", _NAME, {}, '{outage = "gen:3"}'),
    "scale_load": _Verb("factor", _FACTOR, _SCOPE, '{scale_load = 1.1, area = "1"}'),
    "scale_generation": _Verb("factor", _FACTOR, _SCOPE, '{scale_generation = 0.8, kind = "sgen"}'),
    "set_load": _Verb(
        "element", _NAME,
        {"p_mw": _Parameter("number", unit="MW"), "q_mvar": _Parameter("number", unit="MVAr")},
        '{set_load = "load:3", p_mw = 10, q_mvar = 2}',
    ),
    "redispatch": _Verb("element", _NAME, {"p_mw": _P}, '{redispatch = "gen:3", p_mw = 120}'),
    "curtail": _Verb("element", _NAME, {"p_mw": _P_LEFT}, '{curtail = "sgen:4", p_mw = 10}'),
    "shed": _Verb("element", _NAME, {"p_mw": _P_LEFT}, '{shed = "load:3", p_mw = 5}'),
    "storage": _Verb("element", _NAME, {"p_mw": _P}, '{storage = "storage:0", p_mw = -5}'),
    "split": _Verb(
        "bus", _NAME, {"busbar2": _Parameter("list", needed=True)},
        '{split = "4", busbar2 = ["line:3", "load:2"]}',
    ),
    "merge": _Verb("bus", _NAME, {}, '{merge = "4"}'),
    "rating": _Verb(
        "element", _NAME,
        {"percent": _Parameter(
            "number", needed=True, low=5.0, high=1000.0, unit="%",
            hint="It is a share of the present rating: 110 raises it by a tenth.",
        )},
        '{rating = "line:4", percent = 110}',
    ),
    "tap": _Verb(
        "element", _NAME,
        {"position": _Parameter("whole", low=-1000.0, high=1000.0),
         "ratio_percent": _Parameter(
            "number", low=-MAX_TAP_PERCENT, high=MAX_TAP_PERCENT, unit="%",
            hint="It is the change of the turns ratio: 2.5 raises it by 2.5 %.",
        )},
        '{tap = "trafo:1", position = -2} or {tap = "trafo:1", ratio_percent = 2.5}',
    ),
    "voltage": _Verb(
        "element", _NAME,
        {"vm_pu": _Parameter(
            "number", needed=True, low=0.5, high=1.5, unit="p.u.",
            hint="It is a share of the nominal voltage: 1.02 holds 2 % more.",
        )},
        '{voltage = "gen:3", vm_pu = 1.02}',
    ),
    "shunt": _Verb(
        "element", _NAME, {"step": _Parameter("whole", needed=True, low=0.0, high=1000.0)},
        '{shunt = "shunt:0", step = 2}',
    ),
}  # fmt: skip


def parse_edit(table: Mapping[str, Any], where: str = "") -> Edit:
    """Read one edit.

    Parameters
    ----------
    table
        One verb of `VERBS` with its value, and its parameters.
    where
        Place in the user's file, put before every message.

    Raises
    ------
    StudyError
        Not one verb, an unknown or missing parameter, or a value that it cannot have.
    """
    at = f"{where}: " if where else ""
    if not table:
        raise StudyError(f'{at}an edit is a table like {{open = "line:26"}}, not {_shown(table)}.')
    verbs = [key for key in table if key in VERBS]
    if len(verbs) != 1:
        raise StudyError(at + _verb_problem(table, verbs))
    name = verbs[0]
    verb = VERBS[name]
    for key in table:
        if key != name and key not in verb.parameters:
            raise StudyError(at + _unknown_parameter(str(key), name, verb))
    found: dict[str, Any] = {verb.field: _value(table[name], name, verb.main, at)}
    for key, parameter in verb.parameters.items():
        if key in table:
            found[key] = _value(table[key], key, parameter, at)
        elif parameter.needed:
            raise StudyError(f"{at}'{name}' needs {key}, as in {verb.example}.")
    edit = Edit(verb=name, where=where, **found)
    if name == "set_load" and math.isnan(edit.p_mw) and math.isnan(edit.q_mvar):
        raise StudyError(f"{at}'set_load' needs p_mw, q_mvar or both, as in {verb.example}.")
    if name == "tap" and math.isnan(edit.position) == math.isnan(edit.ratio_percent):
        raise StudyError(f"{at}'tap' needs position or ratio_percent, one of them: {verb.example}.")
    if edit.element and (edit.area or edit.kind) and verb.field == "factor":
        raise StudyError(f"{at}'{name}' takes an element, or an area and a kind; not both.")
    return edit


def _verb_problem(table: Mapping[str, Any], verbs: Sequence[str]) -> str:
    if verbs:
        return f"one edit does one thing; this one has {' and '.join(verbs)}. Write two edits."
    first = next(iter(table))
    near = difflib.get_close_matches(str(first), VERBS, n=1, cutoff=0.4)
    hint = f"Did you mean '{near[0]}'?" if near else f"There is: {', '.join(VERBS)}."
    return f"unknown edit {_shown(first)}. {hint}"


def _unknown_parameter(key: str, name: str, verb: _Verb) -> str:
    if not verb.parameters:
        return f"'{name}' takes nothing beside it, so {_shown(key)} has no place here."
    stem = key.partition("_")[0]
    near = [known for known in verb.parameters if known.partition("_")[0] == stem]
    near = near or difflib.get_close_matches(key, verb.parameters, n=1, cutoff=0.0)
    unit = verb.parameters[near[0]].unit
    unit = f" (in {unit})" if unit else ""
    return f"'{name}' has no parameter {_shown(key)}. Did you mean '{near[0]}'{unit}?"


def _value(value: Any, name: str, parameter: _Parameter, at: str) -> Any:
    if parameter.kind == "list":
        return _texts(value, name, at)
    if parameter.kind == "text":
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
            value = str(value)  # ids are often numbers
        if not isinstance(value, str) or not value.strip():
            raise StudyError(f"{at}'{name}' must be a name in quotes, not {_shown(value)}.")
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        unit = f" of {parameter.unit}" if parameter.unit else ""
        raise StudyError(f"{at}'{name}' must be a plain number{unit}, not {_shown(value)}.")
    if parameter.kind == "whole" and value != round(float(value) if abs(value) < 1e15 else 0.0):
        raise StudyError(f"{at}'{name}' must be a whole number, not {_shown(value)}.")
    number = math.inf if abs(value) >= 1e300 else float(value) + 0.0  # no -0
    if parameter.low - _ROUNDING <= number < parameter.low:
        number = parameter.low
    if not (math.isfinite(number) and parameter.low <= number <= parameter.high):
        span = _span(parameter)
        raise StudyError(f"{at}'{name}' is {number:.6g}; {span}{parameter.hint}".rstrip())
    return number


def _span(parameter: _Parameter) -> str:
    unit = f" {parameter.unit}" if parameter.unit else ""
    if math.isfinite(parameter.high):
        return f"give {parameter.low:g} to {parameter.high:g}{unit}".rstrip(".") + ". "
    if math.isfinite(parameter.low):
        return f"give {parameter.low:g}{unit} or more. "
    return f"give a finite number of{unit}. "


def _texts(value: Any, name: str, at: str) -> tuple[str, ...]:
    good = isinstance(value, (list, tuple)) and value
    if not good or not all(isinstance(item, str) and item.strip() for item in value):
        raise StudyError(
            f'{at}\'{name}\' must be a list of terminals like ["line:3", "trafo:1@hv"], not '
            f"{_shown(value)}."
        )
    return tuple(item.strip() for item in value)


def _shown(value: Any, limit: int = 60) -> str:
    """The value in a message, on one line and not too long."""
    if isinstance(value, int) and abs(value) > 10**limit:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


def _scope(edit: Edit) -> str:
    kind = f" ({edit.kind})" if edit.kind else ""
    if edit.element:
        return f" of {edit.element}"
    return kind + (f" in area {edit.area}" if edit.area else "")


def _load_words(edit: Edit) -> str:
    parts = [
        f"{value:g} {unit}"
        for value, unit in ((edit.p_mw, "MW"), (edit.q_mvar, "Mvar"))
        if not math.isnan(value)
    ]
    return f"set {edit.element} to {', '.join(parts)}"


def _storage_words(edit: Edit) -> str:
    does = "discharges" if edit.p_mw < 0 else "charges"
    return (
        f"{edit.element} {does} at {abs(edit.p_mw):g} MW" if edit.p_mw else f"{edit.element} idles"
    )


_WORDS: dict[str, Callable[[Edit], str]] = {
    "open": lambda e: f"open {e.element}",
    "close": lambda e: f"close {e.element}",
    "outage": lambda e: f"outage of {e.element}",
    "scale_load": lambda e: f"scale load{_scope(e)} by {e.factor:g}",
    "scale_generation": lambda e: f"scale generation{_scope(e)} by {e.factor:g}",
    "set_load": _load_words,
    "redispatch": lambda e: f"dispatch {e.element} to {e.p_mw:g} MW",
    "curtail": lambda e: f"curtail {e.element} to {e.p_mw:g} MW",
    "shed": lambda e: f"shed {e.element} to {e.p_mw:g} MW",
    "storage": _storage_words,
    "split": lambda e: f"split bus {e.bus}: {', '.join(e.busbar2)} to busbar 2",
    "merge": lambda e: f"merge the busbars of bus {e.bus}",
    "rating": lambda e: f"rate {e.element} at {e.percent:g} %",
    "tap": lambda e: (
        f"change the ratio of {e.element} by {e.ratio_percent:+g} %"
        if math.isnan(e.position)
        else f"move the tap of {e.element} to position {e.position:.0f}"
    ),
    "voltage": lambda e: f"hold {e.vm_pu:g} p.u. at {e.element}",
    "shunt": lambda e: f"switch {e.element} to {e.step:.0f} steps",
}


def apply_edits(case: Case, edits: Sequence[Edit]) -> Case:
    """The case with all edits made, in their order; the grid is shared where none changes it.

    Raises
    ------
    ElementError
        An edit names an element, bus, area or kind that the case does not have.
    StudyError
        An edit makes no sense on this case, or two contradict each other.
    """
    draft = Draft(case)
    claims: dict[tuple[str, object], Edit] = {}
    for edit in edits:
        try:
            for claim in _DO[edit.verb](draft, edit):
                _claim(claims, claim, edit)
        except (ElementError, StudyError) as problem:
            if not edit.where:
                raise
            kind = ElementError if isinstance(problem, ElementError) else StudyError
            raise kind(f"{edit.where}: {problem}") from None
        except GridrlError as problem:
            raise StudyError(f"{edit.where or edit}: {problem}") from None
    return draft.case()


Claims = list[tuple[str, object]]


def _claim(claims: dict[tuple[str, object], Edit], claim: tuple[str, object], edit: Edit) -> None:
    """Note that ``edit`` decides something; refuse where an earlier one did."""
    earlier = claims.setdefault(claim, edit)
    if earlier is edit:
        return
    if replace(earlier, where="") == replace(edit, where=""):
        raise StudyError(f"'{edit}' is written twice. Leave one of them out.")
    raise StudyError(f"'{edit}' contradicts '{earlier}'. Keep one of them.")


def _out(draft: Draft, edit: Edit) -> Claims:
    element = draft.take_out(edit.element)
    return [("service", element), ("power", element)]


def _close(draft: Draft, edit: Edit) -> Claims:
    return [("service", draft.put_in(edit.element))]


def _scale_load(draft: Draft, edit: Edit) -> Claims:
    return _scaled(edit, draft.scale_load(edit.factor, edit.area, edit.kind, edit.element))


def _scale_generation(draft: Draft, edit: Edit) -> Claims:
    return _scaled(edit, draft.scale_generation(edit.factor, edit.area, edit.kind, edit.element))


def _scaled(edit: Edit, element: int | None) -> Claims:
    if element is not None:
        return [("power", element)]
    return [(edit.verb, (edit.area, edit.kind))]


def _tapped(draft: Draft, edit: Edit) -> int:
    if math.isnan(edit.position):
        return draft.tap(edit.element, 1.0 + edit.ratio_percent / 100.0)
    return draft.move_tap(edit.element, int(edit.position))


_DO: dict[str, Callable[[Draft, Edit], Claims]] = {
    "open": _out,
    "outage": _out,
    "close": _close,
    "scale_load": _scale_load,
    "scale_generation": _scale_generation,
    "set_load": lambda d, e: [("power", d.set_load(e.element, e.p_mw, e.q_mvar))],
    "redispatch": lambda d, e: [("power", d.redispatch(e.element, e.p_mw))],
    "curtail": lambda d, e: [("power", d.curtail(e.element, e.p_mw))],
    "shed": lambda d, e: [("power", d.shed(e.element, e.p_mw))],
    "storage": lambda d, e: [("power", d.charge(e.element, e.p_mw))],
    "split": lambda d, e: [("busbars", d.split(e.bus, e.busbar2))],
    "merge": lambda d, e: [("busbars", d.merge(e.bus))],
    "rating": lambda d, e: [("rating", d.rate(e.element, e.percent / 100.0))],
    "tap": lambda d, e: [("tap", _tapped(d, e))],
    "voltage": lambda d, e: [("voltage", d.hold(e.element, e.vm_pu))],
    "shunt": lambda d, e: [("steps", d.switch_shunt(e.element, int(e.step)))],
}
