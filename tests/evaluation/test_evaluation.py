"""Evaluations: intervals with known answers, episodes kept, the command and its complaints."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gridrl.cli import app
from gridrl.cli.evaluate import seed_list
from gridrl.errors import ScenarioError
from gridrl.evaluation.run import Task, evaluate, place_of
from gridrl.evaluation.statistics import mean_interval, resamples, time_quantile
from gridrl.evaluation.store import Store
from gridrl.policies import load


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(
        places=[place_of("ieee14", episodes=2)], policies=[load("do_nothing"), load("random")],
        steps=20,
    )  # fmt: skip


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    found = mean_interval(values, resamples(400, rng))
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * values.std() / np.sqrt(400)  # the central limit theorem
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert mean_interval(values[:1], resamples(1, rng)).low is None


def test_quantiles_of_times_are_right_to_their_classes() -> None:
    seconds = np.exp(np.linspace(-8, 0, 1001))
    counts: dict[int, int] = {}
    for at in np.floor(50 * np.log(seconds)).astype(int).tolist():
        counts[at] = counts.get(at, 0) + 1
    found = time_quantile(counts, 0.5, 50)
    assert found == pytest.approx(np.quantile(seconds, 0.5), rel=0.03)
    assert time_quantile({}, 0.5, 50) is None


def test_finished_episodes_are_not_played_again(task: Task, tmp_path: Path) -> None:
    rows = evaluate(task, Store(tmp_path, task.settings))
    assert [row["policy"] for row in rows] == ["do_nothing"] * 2 + ["random"] * 2
    file = tmp_path / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:30])  # killed while it wrote the third
    store = Store(tmp_path, task.settings)
    assert len(store.rows) == 2
    again = evaluate(task, store)
    for old, new in zip(rows, again, strict=True):
        assert (old["steps"], old["trace"]) == (new["steps"], new["trace"])
    assert len(file.read_text().splitlines()) == 4


def test_side_by_side_is_as_one_by_one(task: Task) -> None:
    """With several seeds, so that what is drawn cannot hang on the first of a batch."""
    alone, beside = (
        Task(places=task.places, policies=task.policies, seeds=[0, 3], steps=20, batch=batch)
        for batch in (1, 16)
    )
    for one, many in zip(evaluate(alone), evaluate(beside), strict=True):
        assert (one["steps"], one["trace"]) == (many["steps"], many["trace"])


def test_another_evaluation_is_refused(task: Task, tmp_path: Path) -> None:
    Store(tmp_path, task.settings)
    with pytest.raises(ScenarioError, match="holds episodes with steps 20, not 30"):
        Store(tmp_path, {**task.settings, "steps": 30})
    with pytest.raises(ScenarioError, match="another scenario 'ieee14'"):
        Store(tmp_path, {**task.settings, "scenarios": {"ieee14": "0"}})


def test_the_command_reports(tmp_path: Path) -> None:
    asked = "evaluate --scenario ieee14 --policy do_nothing --policy greedy --episodes 1 --steps 5"
    found = CliRunner().invoke(app, [*asked.split(), "--out", str(tmp_path), "--json"])
    assert found.exit_code == 0
    made = json.loads(found.stdout)
    assert [line["policy"] for line in made["summary"]] == ["do_nothing", "greedy"]
    assert made["finished"] == made["asked"] == 2
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert page.count("<table>") == 3
    text = (tmp_path / "report.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 3 * 4  # head, rule and two policies
    assert max(map(len, tables)) <= 130  # fits a page


@pytest.mark.parametrize("text", ("", "a", "3-", "5-2", "-1", "1,,2"))
def test_a_list_of_seeds_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="--seeds"):
        seed_list(text)
