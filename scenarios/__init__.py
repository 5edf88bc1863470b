"""Named problems: a grid with its series, events, rules and operators, one TOML file each.

>>> import scenarios
>>> scenarios.names("ieee")[:3]
('ieee118', 'ieee14', 'ieee30')
>>> scenarios.load("ieee14").family
'ieee'
"""

import difflib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from gridrl.errors import ScenarioError

if TYPE_CHECKING:
    from gridrl.case import Case
    from scenarios.scenario import Scenario


def names(family: str | None = None) -> tuple[str, ...]:
    """Names of the scenarios that come along, sorted; those of one family if it is given.

    Raises
    ------
    ScenarioError
        There is no such family.
    """
    found = sorted(
        path.name.removesuffix(".toml")
        for path in files("scenarios.data").iterdir()
        if path.name.endswith(".toml")
    )
    if family is None:
        return tuple(found)
    by_name = {name: load(name).family for name in found}
    if family not in by_name.values():
        known = ", ".join(sorted(set(by_name.values())))
        raise ScenarioError(f"No scenario family '{family}'. There are {known}.")
    return tuple(name for name in found if by_name[name] == family)


def load(source: str | Path) -> "Scenario":
    """A scenario by name, or from a TOML file; its series are made when they are asked for.

    Raises
    ------
    ScenarioError
        There is no such scenario, or the file says something that makes no sense: the message
        names the entry.
    """
    from scenarios.read import read_scenario

    text = str(source)
    named = files("scenarios.data") / f"{text}.toml"
    if isinstance(source, str) and text.replace("-", "").replace("_", "").isalnum():
        if named.is_file():
            return read_scenario(named.read_text(encoding="utf-8"), text, Path())
        near = difflib.get_close_matches(text, names(), n=3, cutoff=0.3)
        if not Path(source).is_file():
            hint = (
                f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names())}."
            )
            raise ScenarioError(f"'{text}' is neither a scenario nor a file. {hint}")
    path = Path(source)
    if not path.is_file():
        raise ScenarioError(f"There is no scenario file '{text}'. Give a .toml file or a name.")
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as broken:
        raise ScenarioError(f"'{text}' cannot be read as text: {broken}.") from broken
    return read_scenario(content, path.stem, path.parent)


# What a case gets that says nothing of series and rules; a scenario file may say otherwise.
_DEFAULTS = """
family = "own"
[grid]
case = "given"
[series]
seed = 0
episodes = 12
test_episodes = 4
days = 7
[fleet]
ramp = 0.03
[rules]
profile = "competition"
rho_side = "both"
"""


def from_case(case: "Case | str | Path", name: str | None = None) -> "Scenario":
    """A scenario of a grid alone: a year's weeks from the generator, the rules of competitions.

    Ratings are the case's own. Where it has none that bind, write a scenario file with [rating].

    Parameters
    ----------
    case
        A `Case`, or what `gridrl.load` takes: a name or a file.
    name
        What the scenario is called; by default the name of the grid.

    Raises
    ------
    CaseError, GridError
        The case cannot be loaded.
    """
    from dataclasses import replace

    import gridrl
    from scenarios.read import read_scenario

    found = gridrl.load(case) if isinstance(case, str | Path) else case
    called = found.grid.name if name is None else name
    made = read_scenario(_DEFAULTS, called, Path())
    return replace(made, grid=found.source or called, given=found)
