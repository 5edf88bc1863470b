"""Tables of the suites that play environments show what was measured, and the docs show them."""

import json
from pathlib import Path

import pytest

from gridrl.bench.play_render import COLUMNS, summary, tables
from gridrl.bench.render import BEGIN, END

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("suite", COLUMNS)
def test_docs_show_the_published_results(suite: str) -> None:
    made = json.loads((ROOT / "benchmarks" / "results" / f"{suite}.json").read_text())
    text = tables(made)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(made["rows"])
    for line, row in zip(rows, made["rows"], strict=True):
        assert row["environment"] in line or row["pack"] in line
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    shown = page.partition(BEGIN.format(name=suite))[2].partition(END.format(name=suite))[0]
    assert shown.strip() == text.strip()


def test_numbers_are_those_of_the_row() -> None:
    row = {
        "environment": "e", "contender": "grid2op", "actions": "do nothing", "face": "core",
        "batch": 64, "steps_per_s": 1234.4, "peer_steps_per_s": 12.3, "ratio": 100.3577,
        "of_doing_nothing": 0.714,
    }  # fmt: skip
    made = {
        "suite": "env_speed", "created": "2026-01-01T00:00", "commit": "c", "seed": 1, "note": "",
        "machine": {"cpu": "x", "cores": 2, "memory_gib": 3}, "versions": {}, "rows": [row],
    }  # fmt: skip
    assert "| e | grid2op | do nothing | core | 64 | 1,234 | 12 | 100.4 | 0.71 |" in tables(made)
    small = dict(row, batch=1, ratio=4.0)
    light = dict(row, contender="lightenv", ratio=8.25)
    told = summary(made | {"rows": [small, light, row]})
    assert "| e | do nothing | 1,234 | 100.4 | 8.2 |" in told
