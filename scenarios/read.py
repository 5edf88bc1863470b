"""From the text of a scenario file to a `Scenario`: every entry is known, typed and in range."""

import tomllib
from pathlib import Path
from typing import Any

from gridrl.env.rules import PROFILES, Rules, profile
from gridrl.errors import RulesError, ScenarioError
from scenarios.generator import Recipe
from scenarios.profiles import Windows
from scenarios.ratings import Rating
from scenarios.scenario import PACKS, Battery, Foe, Outage, Scenario

TOP = ("title", "family", "grid", "rating", "series", "fleet", "storage", "rules", "opponent",
       "maintenance", "hazard", "areas", "packs")  # fmt: skip

# Whether Grid2Op's opponents look at loadings, and out of how many steps they draw one
OPPONENTS = {"random_line": (False, 1), "weighted_random": (True, 288)}
MOST_ROWS = 10_000_000  # of a series in memory: a hundred years in steps of five minutes


def read_scenario(text: str, name: str, folder: Path) -> Scenario:
    """Read the text of a scenario file; paths in it start at ``folder``.

    Raises
    ------
    ScenarioError
        Naming the entry that is missing, unknown, of another type or out of range.
    """
    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        raise ScenarioError(f"Scenario {name} is no TOML: {broken}.") from broken
    reader = _Reader(name)
    reader.known(top, TOP)
    grid = reader.table(top, "grid")
    reader.known(grid, ("case", "region", "split"))
    split = reader.text(grid, "split", "usual")
    if split not in ("usual", "all"):
        raise reader.complain(f"[grid] split is {split!r}; give 'usual' or 'all'.")
    fleet = reader.table(top, "fleet")
    reader.known(fleet, ("ramp", "grid_balances", "generators", "storage"))
    if "generators" in fleet and ("ramp" in fleet or "storage" in top):
        raise reader.complain("[fleet] generators states ramps and storage: drop the others.")
    recipe, windows, tables, test = _series(reader, reader.table(top, "series"))
    return Scenario(
        name=name,
        title=reader.text(top, "title", name),
        family=reader.text(top, "family", "own"),
        grid=reader.text(grid, "case"),
        region=reader.texts(grid, "region"),
        folder=folder,
        split_all=split == "all",
        generators=reader.text(fleet, "generators") if "generators" in fleet else "",
        storage=reader.text(fleet, "storage") if "storage" in fleet else "",
        rating=_rating(reader, top),
        recipe=recipe,
        windows=windows,
        tables=tables,
        test_episodes=test,
        ramp=reader.number(fleet, "ramp", 0.0, 0.0, 1.0),
        grid_balances=reader.flag(fleet, "grid_balances", False),
        batteries=_batteries(reader, top),
        rules=_rules(reader, top),
        foe=_foe(reader, top),
        outages=(*_outages(reader, top, "maintenance"), *_outages(reader, top, "hazard")),
        areas=_areas(reader, top),
        frozen=_frozen(reader, top),
    )


class _Table(dict[str, Any]):
    """A table with the place that messages name."""

    where = ""


class _Reader:
    """Takes entries out of tables, with a message that names what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name

    def complain(self, what: str) -> ScenarioError:
        return ScenarioError(f"Scenario {self.name}: {what}")

    def known(self, table: dict[str, Any], names: tuple[str, ...]) -> None:
        strange = sorted(set(table) - set(names))
        if strange:
            place = _where(table).strip() or "the file"
            raise self.complain(
                f"{place} has no entry '{strange[0]}'. There are {', '.join(names)}."
            )

    def table(self, top: dict[str, Any], key: str) -> dict[str, Any]:
        value = top.get(key, {})
        if not isinstance(value, dict):
            raise self.complain(f"{key} must be a table: [{key}].")
        out = _Table(value)
        out.where = f"[{key}] "
        return out

    def tables(self, top: dict[str, Any], key: str) -> list[dict[str, Any]]:
        rows = top.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.complain(f"{key} must be tables: [[{key}]].")
        out: list[dict[str, Any]] = []
        for number, row in enumerate(rows, 1):
            table = _Table(row)
            table.where = f"[[{key}]] number {number}: "
            out.append(table)
        return out

    def text(self, table: dict[str, Any], key: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.complain(
                f"{_where(table)}{key} must be a text" + ("." if key in table else "; add it.")
            )
        return value

    def texts(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.complain(f'{_where(table)}{key} must be a list of texts like ["line:3"].')
        return tuple(value)

    def number(
        self, table: dict[str, Any], key: str, default: float | None, low: float, high: float
    ) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.complain(
                f"{_where(table)}{key} must be a number" + ("." if key in table else "; add it.")
            )
        if not low <= value <= high:
            raise self.complain(f"{_where(table)}{key} is {value}; give {low:g} to {high:g}.")
        return float(value)

    def count(self, table: dict[str, Any], key: str, default: int | None, low: int = 0) -> int:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.complain(
                f"{_where(table)}{key} must be a whole number of {low} or more; got {value!r}."
            )
        return value

    def flag(self, table: dict[str, Any], key: str, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            raise self.complain(f"{_where(table)}{key} must be true or false.")
        return value


def _where(table: dict[str, Any]) -> str:
    return table.where if isinstance(table, _Table) else ""


def _series(
    reader: _Reader, series: dict[str, Any]
) -> tuple[Recipe | None, Windows | None, str, int]:
    test = reader.count(series, "test_episodes", 0)
    if "tables" in series:
        reader.known(series, ("tables", "test_episodes"))
        return None, None, reader.text(series, "tables"), test
    if "profiles" in series:
        reader.known(series, ("profiles", "seed", "episodes", "days", "test_episodes"))
        if reader.text(series, "profiles") != "simbench":
            raise reader.complain(
                f"[series] profiles is {series['profiles']!r}; there is 'simbench'."
            )
        windows = Windows(
            seed=reader.count(series, "seed", 0), episodes=reader.count(series, "episodes", 26, 1),
            days=reader.number(series, "days", 7.0, 0.02, 366.0),
        )  # fmt: skip
        _leave_some(reader, test, windows.episodes)
        return None, windows, "", test
    reader.known(
        series,
        ("seed", "episodes", "days", "step_minutes", "load_peak", "wind", "solar", "plants",
         "test_episodes"),
    )  # fmt: skip
    recipe = Recipe(
        seed=reader.count(series, "seed", 0),
        episodes=reader.count(series, "episodes", 8, 1),
        days=reader.number(series, "days", 7.0, 0.01, 400.0),
        step_s=60.0 * reader.number(series, "step_minutes", 5.0, 0.1, 1440.0),
        load_peak=reader.number(series, "load_peak", 1.0, 0.0, 10.0),
        wind=reader.texts(series, "wind"),
        solar=reader.texts(series, "solar"),
        plants=reader.texts(series, "plants"),
    )
    if recipe.rows < 2:
        raise reader.complain("days is shorter than step_minutes, so that nothing can happen.")
    if recipe.rows * recipe.episodes > MOST_ROWS:
        raise reader.complain(
            f"[series] has {recipe.episodes} episodes of {recipe.rows} rows; give fewer, shorter "
            f"or coarser ones, {MOST_ROWS} rows at most."
        )
    _leave_some(reader, test, recipe.episodes)
    return recipe, None, "", test


def _leave_some(reader: _Reader, test: int, episodes: int) -> None:
    if test > episodes:
        raise reader.complain(
            f"[series] test_episodes is {test}, but there are {episodes} episodes."
        )


def _rating(reader: _Reader, top: dict[str, Any]) -> Rating | None:
    if "rating" not in top:
        return None
    table = reader.table(top, "rating")
    reader.known(table, ("margin", "floor"))
    return Rating(
        margin=reader.number(table, "margin", 1.3, 0.01, 100.0),
        floor=reader.number(table, "floor", 0.5, 0.0, 100.0),
    )


def _rules(reader: _Reader, top: dict[str, Any]) -> Rules:
    table = dict(reader.table(top, "rules"))
    name = table.pop("profile", "default")
    if not isinstance(name, str) or name not in PROFILES:
        raise reader.complain(f"[rules] profile is {name!r}; give {', '.join(PROFILES)}.")
    try:
        return profile(name, **table)
    except (RulesError, TypeError) as wrong:
        raise reader.complain(str(wrong)) from wrong


def _foe(reader: _Reader, top: dict[str, Any]) -> Foe | None:
    if "opponent" not in top:
        return None
    table = reader.table(top, "opponent")
    reader.known(
        table,
        ("kind", "elements", "weights", "by_loading", "period", "duration", "cooldown", "budget",
         "budget_per_step"),
    )  # fmt: skip
    elements = reader.texts(table, "elements")
    if not elements:
        raise reader.complain("[opponent] needs elements that it may attack.")
    kind = reader.text(table, "kind", "random_line")
    if kind not in OPPONENTS:
        raise reader.complain(f"[opponent] kind is {kind!r}; give {' or '.join(OPPONENTS)}.")
    by_loading, period = OPPONENTS[kind]
    return Foe(
        elements=elements,
        weights=_weights(reader, table, len(elements)),
        by_loading=reader.flag(table, "by_loading", by_loading),
        period=reader.count(table, "period", period, 1),
        duration=reader.count(table, "duration", 48, 1),
        cooldown=reader.count(table, "cooldown", 144),
        budget=reader.number(table, "budget", 0.0, 0.0, 1e9),
        budget_per_step=reader.number(table, "budget_per_step", 0.5, 0.0, 1e9),
    )


def _weights(reader: _Reader, table: dict[str, Any], count: int) -> tuple[float, ...]:
    value = table.get("weights", [])
    good = isinstance(value, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1e9 for x in value
    )
    if not good or len(value) not in (0, count):
        raise reader.complain(
            f"[opponent] weights must be a number of 0 or more for each of its {count} elements."
        )
    return tuple(float(x) for x in value)


def _outages(reader: _Reader, top: dict[str, Any], key: str) -> list[Outage]:
    out = []
    for row in reader.tables(top, key):
        reader.known(row, ("element", "first_step", "steps", "episode"))
        out.append(
            Outage(
                element=reader.text(row, "element"),
                first_step=reader.count(row, "first_step", 0),
                steps=reader.count(row, "steps", None, 1),
                episode=reader.count(row, "episode", None) if "episode" in row else None,
                planned=key == "maintenance",
            )
        )
    return out


def _areas(reader: _Reader, top: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    table = reader.table(top, "areas")
    return tuple((name, reader.texts(table, name)) for name in table)


def _batteries(reader: _Reader, top: dict[str, Any]) -> tuple[Battery, ...]:
    out = []
    for row in reader.tables(top, "storage"):
        reader.known(row, ("element", "energy_mwh", "power_mw", "efficiency"))
        out.append(
            Battery(
                element=reader.text(row, "element"),
                energy_mwh=reader.number(row, "energy_mwh", None, 1e-6, 1e9),
                power_mw=reader.number(row, "power_mw", None, 1e-6, 1e9),
                efficiency=reader.number(row, "efficiency", 0.95, 0.01, 1.0),
            )
        )
    return tuple(out)


def _frozen(reader: _Reader, top: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    table = reader.table(top, "packs")
    reader.known(table, PACKS)
    return tuple((pack, reader.text(table, pack)) for pack in table)
