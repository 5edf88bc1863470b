"""The suite irl: rows that stay, aggregates by hand, and the plain NumPy versions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridrl.bench import irl, irl_cells, irl_speed
from gridrl.bench.document import write
from gridrl.bench.irl_render import draw, summary, tables
from gridrl.errors import CaseError

METHODS = ("turbo", "independent", "deep_maxent", "pooled", "fedavg", "multitask", "cloning")


def world(seed: int, overlap: float) -> dict[str, Any]:
    rng = np.random.default_rng([seed, round(10 * overlap)])
    results: dict[str, Any] = {}
    for method in METHODS:
        results[method] = {m: float(rng.uniform(0.2, 0.4)) for m in (*irl_cells.METRICS, "cpu_s")}
    results["turbo"]["std_mse"] = 0.1
    results["independent"]["std_mse"] = 0.2 if seed else 0.4
    for metric in ("correlation", "std_mse", "epic"):
        results["cloning"][metric] = None
    return {
        "cell": f"smooth {overlap:g} 100/100/5", "kind": "smooth", "overlap": overlap,
        "agents": 3, "demonstrations": [100, 100, 5], "seed": seed, "results": results,
    }  # fmt: skip


ROWS = [world(seed, overlap) for seed in (0, 1) for overlap in (0.0, 0.9)]


def test_cells_are_means_and_reductions_ratios_of_means() -> None:
    found = irl_cells.cells(ROWS)
    assert len(found) == 2 * len(METHODS)
    (line,) = [x for x in found if x["overlap"] == 0.9 and x["method"] == "independent"]
    assert line["std_mse"] == pytest.approx(0.3)
    assert (line["std_mse_low"], line["std_mse_high"]) == pytest.approx((0.2, 0.4))
    assert line["std_mse_turbo_below_pct"] == pytest.approx(100 * (1 - 0.1 / 0.3))
    (clone,) = [x for x in found if x["overlap"] == 0.9 and x["method"] == "cloning"]
    assert clone["std_mse"] is None
    assert clone["evd_hard"] is not None


def test_targets_say_what_was_missed() -> None:
    found = {t["what"]: t for t in irl_cells.targets(irl_cells.cells(ROWS), ROWS)}
    aim = found["smooth, overlap 0.9: std_mse below independent, %"]
    assert aim["met"]
    assert aim["measured"] == pytest.approx(66.7, abs=0.1)
    lost = found["smooth, overlap 0: correlation lost against independent"]
    by_hand = np.mean(
        [
            r["results"]["independent"]["correlation"] - r["results"]["turbo"]["correlation"]
            for r in ROWS
            if r["overlap"] == 0.0
        ]
    )
    assert lost["measured"] == pytest.approx(by_hand)
    assert lost["met"] == (by_hand <= 0.02)
    assert found["cells with a lower std_mse than pooled, % of 2"]["measured"] == 100.0


def test_tables_and_picture_hold_every_cell(tmp_path: Path) -> None:
    cells = irl_cells.cells(ROWS)
    made = {
        "suite": "irl", "created": "2031-01-01", "commit": "x", "seed": 0, "note": "",
        "machine": {"cpu": "c", "cores": 2, "memory_gib": 1}, "versions": {"numpy": "2"},
        "fixed_point": {"max_gap": 1e-9, "rounds": 5, "problems": 12},
        "coverage90": 0.9, "coverage90_error": 0.01,
        "coverage90_double_counting": 0.4, "coverage90_double_counting_error": 0.02,
        "speed": [irl_speed.speed(4)], "targets": irl_cells.targets(cells, ROWS),
        "gridworld": cells, "grid": [], "rows": ROWS,
    }  # fmt: skip
    text = tables(made)
    for method in METHODS:
        assert text.count(f"| {method} |") == 2
    assert "0.400" in summary(made)
    draw([c for c in cells if c["method"] != "cloning"], tmp_path / "irl.svg")
    assert "<svg" in (tmp_path / "irl.svg").read_text()
    write(tmp_path / "irl.json", made)
    assert json.loads((tmp_path / "irl.json").read_text())["rows"] == ROWS


def test_plain_and_tight_numpy_give_our_visits() -> None:
    found = irl_speed.speed(3)
    assert found["equal"]
    assert found["states"] == 9
    # Discounted visits of twenty steps sum to (1 - 0.95^20) / 0.05, whatever the policy.
    table = np.zeros((2, 1, 2))
    table[:, 0, 1] = 1.0
    endless = irl_speed.speed(3, horizon=0)
    assert endless["equal"]
    assert endless["ratio_tight"] is None
    for one in (irl_speed.plain, irl_speed.tight):
        visits = one(table, np.array([1.0, -1.0]), 0.95, 20, np.array([1.0, 0.0]))
        np.testing.assert_allclose(visits, [1.0, (1 - 0.95**20) / 0.05 - 1.0])


def test_rows_of_other_code_or_a_broken_line_are_run_again(tmp_path: Path) -> None:
    kept = tmp_path / "rows.jsonl"
    lines = [{"made_by": "me", "key": "a", "row": {"x": 1}}, {"made_by": "old", "key": "b"}]
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"made_by": "me", "k')
    assert irl._read(kept, "me") == {"a": {"x": 1}}
    assert irl._read(tmp_path / "none", "me") == {}


@pytest.mark.slow
def test_a_quick_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    kept = tmp_path / "rows.jsonl"
    calls: list[str] = []

    def stop(share: float, now: str) -> None:
        calls.append(now)
        if len(calls) == 2:
            raise KeyboardInterrupt

    first = irl.run(quick=True, seeds=1, kept=kept, progress=stop)
    assert first["note"] == "cut short: 1 of 2 worlds"
    second = irl.run(quick=True, seeds=1, kept=kept)
    assert second["rows"][0] == first["rows"][0]
    assert len(second["rows"]) == 2
    assert second["fixed_point"]["max_gap"] < 1e-4
    with pytest.raises(CaseError, match="at least 1"):
        irl.run(quick=True, seeds=-1)
