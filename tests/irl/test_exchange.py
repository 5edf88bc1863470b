"""Parties that see each other's files and nothing else; the commands; what they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irl.agent import Agent
from irl.agreement import Agreement, read_agreement
from irl.checks import N_CANDIDATE, choices
from irl.decisions import read_decisions, write_decisions
from irl.errors import IrlError
from irl.exchange import SUFFIX, read_audit, read_folder, take_turn
from irl.joint import joint_map
from irl.priors import iid
from irl.rates import exchange_rate
from irl.record import of_turn, read, save, summary
from irl.report import write_report
from irl.together import fit_files

SHARED = np.array([1.5, -0.8, 0.5])
OWN = {"north": [0.7, 0.0], "south": [0.2, -1.0], "west": [0.0, 0.5]}
AGREED = Agreement(
    shared=("overload", "losses", "n_1"), units=("p.u.", "MW", "-"), scale=(1.0, 2.0, 0.5),
    deviation_sd=0.1,
)  # fmt: skip


def write_party(folder: Path, name: str, n: int, seed: int = 0) -> Path:
    """Decisions of one operator, its shared columns behind its own ones."""
    rng = np.random.default_rng([seed, *name.encode()])
    theta = np.concatenate([SHARED + 0.1 * rng.normal(size=3), OWN[name]])
    choice = choices(theta, n, rng)
    names = ("overload", "losses", "n_1", f"{name}_wear", f"{name}_ties")
    order = [3, 4, 0, 2, 1]
    path = folder / f"{name}.csv"
    write_decisions(path, [names[k] for k in order], choice, choice.features[:, order])
    return path


def play(folder: Path, sizes: dict[str, int], rounds: int) -> dict[str, Any]:
    logs = {name: read_decisions(write_party(folder, name, n)) for name, n in sizes.items()}
    box = folder / "box"
    box.mkdir(exist_ok=True)
    turns = {}
    for _ in range(rounds):
        for name, log in logs.items():
            turns[name] = take_turn(name, log, AGREED, box, folder / f"{name}.jsonl")
    return turns


def test_parties_reach_the_joint_fit_by_files(tmp_path: Path) -> None:
    turns = play(tmp_path, {"north": 200, "south": 15, "west": 60}, rounds=5)
    agents = []
    for name in turns:
        log = read_decisions(tmp_path / f"{name}.csv").ordered(AGREED.shared, AGREED.scale)
        own = iid(2, AGREED.own_sd**2)
        agents.append(Agent(name=name, likelihood=log.choice, own_covariance=own))
    _, shared, theta = joint_map(agents, AGREED.prior)
    for turn, want in zip(turns.values(), theta, strict=True):
        assert turn.settled
        np.testing.assert_allclose(turn.fit.theta, want, atol=1e-5)
        np.testing.assert_allclose(turn.shared.mean, shared, atol=1e-5)


def test_nothing_is_settled_before_all_have_answered(tmp_path: Path) -> None:
    assert not play(tmp_path, {"north": 60}, rounds=3)["north"].settled
    turns = play(tmp_path, {"south": 20}, rounds=1)
    assert not turns["south"].settled
    turns = play(tmp_path, {"north": 60, "south": 20}, rounds=2)
    assert turns["north"].settled
    assert turns["south"].settled


def test_a_message_says_nothing_of_own_weights_and_single_decisions(tmp_path: Path) -> None:
    sizes = []
    for n in (20, 2000):
        folder = tmp_path / str(n)
        folder.mkdir()
        play(folder, {"north": n}, rounds=1)
        text = (folder / "box" / f"north{SUFFIX}").read_text()
        sizes.append(len(text))
        content = json.loads(text)
        assert "wear" not in text
        assert sorted(len(v) for v in content.values() if isinstance(v, list)) == [3, 6]
    assert max(sizes) <= 1000


def test_the_audit_log_holds_all_that_came_and_went(tmp_path: Path) -> None:
    turns = play(tmp_path, {"north": 50, "south": 10}, rounds=2)
    entries = read_audit(tmp_path / "north.jsonl")
    assert [e["round"] for e in entries] == [0, 1]
    assert entries[0]["heard"] == []
    assert entries[1]["heard"][0]["message"]["agent"] == "south"
    assert entries[1]["said"]["message"] == json.loads(turns["north"].message.to_json())
    assert read_audit(tmp_path / "none.jsonl") == []


def test_features_are_found_by_name_and_scaled_as_agreed(tmp_path: Path) -> None:
    log = read_decisions(write_party(tmp_path, "north", 30))
    ordered = log.ordered(AGREED.shared, AGREED.scale)
    assert ordered.features == ("overload", "losses", "n_1", "north_wear", "north_ties")
    raw = log.choice.features[:, log.features.index("losses")]
    np.testing.assert_array_equal(ordered.choice.features[:, 1], raw / 2.0)
    np.testing.assert_allclose(ordered.choice.features[:, 3:].std(axis=0), 1.0)
    assert np.diff(log.choice.start).tolist() == [N_CANDIDATE] * 30


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("", "no column decision or chosen"),
        ("decision,chosen\n1,1\n", "there must be a feature"),
        ("decision,chosen,x,x\n", "none twice"),
        ("decision,chosen,x\n", "no decisions below"),
        ("decision,chosen,x\n1,1,nan\n", "line 2: x is 'nan'"),
        ("decision,chosen,x\n1,2,0\n", "chosen must be 0 or 1"),
        ("decision,chosen,x\n1,0,0\n1,0,1\n", "exactly one candidate chosen; the first is '1'"),
        ("decision,chosen,x\n1,1,0\n1,1,1\n", "exactly one candidate"),
        ("decision,chosen,x\n1,1,0\n2,1,1\n1,1,1\n", "'1' comes twice"),
        ("decision,chosen,x\n1,1\n", "line 2: 2 cells, the header has 3"),
        ('decision,chosen,x\n"1,1,2\n', "no CSV"),
        ("decision,chosen,x\n1,1,1e300\n", "use another unit"),
    ),
)
def test_decisions_that_make_no_sense_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(IrlError, match=words):
        read_decisions(path)


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("", "name the shared features"),
        ("shared = 1", "must be a list of texts"),
        ("shared = ['a', 'a']", "none twice"),
        ("shared = ['a']\nscale = [0]", "scale of a is 0; it must be above 0"),
        ("shared = ['a']\nscale = [true]", "must hold numbers"),
        ("shared = ['a']\nshared_sd = nan", "must hold numbers"),
        ("shared = ['a']\nunits = []", "one entry for each"),
        ("shared = ['a']\ndeviation_sd = -1", "must be at least 0"),
        ("shared = ['a']\nsecret = 1", "nothing is called 'secret'"),
        ("shared = [", "no TOML"),
        ("shared = ['a']\nscale = [1e-30]", "above 0 and below"),
    ),
)
def test_agreements_that_say_nothing_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(IrlError, match=words):
        read_agreement(path)


@pytest.mark.parametrize(
    ("content", "words"),
    (
        (b"x" * 100_000, "at most"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[" * 1000, "not JSON|no message"),
        (b"{}", "no message"),
    ),
)
def test_hostile_messages_are_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / f"evil{SUFFIX}").write_bytes(content)
    with pytest.raises(IrlError, match=f"evil{SUFFIX}: .*({words})"):
        read_folder(tmp_path, AGREED)


@pytest.mark.parametrize(
    "change",
    (
        {"precision": [1e300, 0, 0, 1e300, 0, 1e300]},
        {"eta": [1e300, 0, 0]},
        {"evidence": -1e308},
        {"n_observation": 10**30},
        {"round": 10**400},
    ),
)
def test_numbers_that_no_data_give_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    play(tmp_path, {"north": 20}, rounds=1)
    path = tmp_path / "box" / f"north{SUFFIX}"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IrlError, match="which no data give"):
        read_folder(tmp_path / "box", AGREED)


@pytest.mark.parametrize(
    ("key", "value"),
    (
        ("rounds", [{"change": "x", "told": {}}]),
        ("rounds", [{"change": None, "told": {"a": 1}}]),
        ("rates", [{"of": "a", "per": "b"}]),
        ("units", []),
        ("agents", [{"name": "x"}]),
        ("agents", []),
        ("log_evidence", None),
    ),
)
def test_records_that_were_tampered_with_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    turns = play(tmp_path, {"north": 30}, rounds=1)
    made = of_turn(turns["north"], AGREED, tmp_path / "north.jsonl")
    save(tmp_path / "fit.json", made | {key: value})
    with pytest.raises(IrlError, match="missing or of another type"):
        read(tmp_path / "fit.json")
    (tmp_path / "north.jsonl").write_text("{}\n")
    with pytest.raises(IrlError, match="line 1: this is no line of an audit log"):
        read_audit(tmp_path / "north.jsonl")


def test_nobody_speaks_for_another_and_nobody_under_other_terms(tmp_path: Path) -> None:
    play(tmp_path, {"north": 20}, rounds=1)
    box = tmp_path / "box"
    text = (box / f"north{SUFFIX}").read_text()
    (box / f"south{SUFFIX}").write_text(text)
    with pytest.raises(IrlError, match="calls itself 'north'"):
        read_folder(box, AGREED)
    (box / f"south{SUFFIX}").unlink()
    other = Agreement(shared=AGREED.shared, units=AGREED.units, scale=AGREED.scale)
    with pytest.raises(IrlError, match="other shared weights"):
        read_folder(box, other)
    log = read_decisions(tmp_path / "north.csv")
    with pytest.raises(IrlError, match="letters, digits"):
        take_turn("../north", log, AGREED, box, tmp_path / "log")


def test_a_report_shows_every_weight_and_obeys_no_name(tmp_path: Path) -> None:
    turns = play(tmp_path, {"north": 80, "south": 20}, rounds=2)
    made = of_turn(turns["north"], AGREED, tmp_path / "north.jsonl")
    made["agents"][0]["weights"][4]["name"] = "<script>$x"
    save(tmp_path / "fit.json", made)
    again = read(tmp_path / "fit.json")
    assert again == made
    for kind in ("html", "svg", "png"):
        write_report(tmp_path / f"r.{kind}", again)
    html = (tmp_path / "r.html").read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<svg") == 1
    assert "overload" in summary(again)
    with pytest.raises(IrlError, match="one of"):
        write_report(tmp_path / "r.pdf", again)
    (tmp_path / "fit.json").write_text('{"kind": "gridrl irl fit 1", "weights": [1]}')
    with pytest.raises(IrlError, match="missing or of another type"):
        read(tmp_path / "fit.json")


def test_together_learns_that_operators_are_alike(tmp_path: Path) -> None:
    paths = [write_party(tmp_path, name, n) for name, n in (("north", 300), ("south", 300))]
    made = fit_files(paths, ["overload", "losses", "n_1"])
    assert made["likeness"] > 0.8
    assert made["converged"]
    weights = {w["name"]: w["mean"] for w in made["weights"]}
    # Features have variance 1, so weights are those planted, up to sampling.
    for name, want in zip(("overload", "losses", "n_1"), SHARED, strict=True):
        assert abs(weights[name] - want) < 0.3
    changes = [r["change"] for r in made["rounds"] if r["change"] is not None]
    assert changes[-1] < 1e-5 < changes[0]
    with pytest.raises(IrlError, match="not both"):
        fit_files(paths, ["losses"], tmp_path / "a.toml")
    with pytest.raises(IrlError, match="Two files are called north"):
        fit_files([paths[0], paths[0]], ["losses"])
    with pytest.raises(IrlError, match="lack the shared feature nope"):
        fit_files(paths, ["nope"])


def test_rates_are_those_of_many_draws() -> None:
    """Fieller's ends: there the numerator minus rate times denominator is zero at 5 %."""
    mean, covariance = np.array([2.0, 4.0]), np.array([[0.09, 0.02], [0.02, 0.16]])
    rate = exchange_rate(("a", "b"), mean, covariance, "a", "b")
    assert rate.value == 0.5
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, 200_000)
    low, high = np.quantile(draws[:, 0] / draws[:, 1], (0.05, 0.95))
    assert rate.low == pytest.approx(low, abs=0.003)
    assert rate.high == pytest.approx(high, abs=0.003)
    scaled = exchange_rate(("a", "b"), mean, covariance, "a", "b", scale=np.array([10.0, 1.0]))
    assert (scaled.value, scaled.low) == pytest.approx((0.05, rate.low / 10))
    vague = exchange_rate(("a", "b"), np.array([2.0, 0.1]), covariance, "a", "b")
    assert not vague.bounded
    with pytest.raises(IrlError, match="No weight 'c'"):
        exchange_rate(("a", "b"), mean, covariance, "c", "b")


def test_commands_run_an_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from gridrl.cli import app

    monkeypatch.chdir(tmp_path)
    for name, n in (("north", 100), ("south", 15)):
        write_party(tmp_path, name, n)
    Path("a.toml").write_text("shared = ['overload', 'losses', 'n_1']\ndeviation_sd = 0.1\n")
    runner = CliRunner()
    for name in ("north", "south") * 3:
        options = f"--name {name} --agreement a.toml --folder box --out {name}.json --json"
        done = runner.invoke(app, ["irl", "exchange", f"{name}.csv", *options.split()])
        assert done.exit_code == 0, done.output
    made = read(Path("south.json"))
    assert made["converged"]
    assert [a["name"] for a in made["agents"]] == ["south"]
    done = runner.invoke(app, ["irl", "report", "south.json", "--out", "s.html"])
    assert done.exit_code == 0, done.output
    done = runner.invoke(
        app, "irl fit north.csv south.csv --shared overload,losses,n_1 --report f.svg".split()
    )
    assert done.exit_code == 0, done.output
    assert "One unit of losses is worth" in done.output
    assert sorted(p.name for p in Path("box").iterdir()) == [f"north{SUFFIX}", f"south{SUFFIX}"]
