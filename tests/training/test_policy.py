"""Training of a policy: it learns, the same every time, and goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import scenarios
from gridrl.env.choices import all_choices
from gridrl.errors import PolicyError
from gridrl.policies.gnn import OrderScorer, Shape
from gridrl.policies.judge import judge
from gridrl.training import policy as training
from gridrl.training.expert import lesson, marks
from gridrl.training.imitation import Learner, Pace, proposed, rate
from gridrl.training.lessons import Syllabus, course_of, held_back, read_lesson, write_lesson
from gridrl.training.policy import Plan, Practice, read_plan, train_policy
from gridrl.training.states import Trouble, draw_states


def same_weights(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


SMALL = Plan(
    network=Shape(hidden=16, layers=2), learning=Pace(steps=160, batch=16),
    practice=Practice(turns=1, states=12, k=2),
    lessons=(
        Syllabus(scenario="ieee5", states=24, variants=2, most=20),
        Syllabus(scenario="ieee14", states=48, variants=2, most=30),
    ),
)  # fmt: skip


@pytest.mark.parametrize("cut", (47, 80, 133))
def test_a_stopped_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """Stopped while it learns, just before it practises, and after that."""
    whole = train_policy(SMALL, tmp_path / "whole")

    class Killed(BaseException):
        pass

    learn = Learner.learn

    def until(self: Learner, courses: object) -> object:
        if self.step == cut:
            raise Killed
        return learn(self, courses)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "learn", until)
    with pytest.raises(Killed):
        train_policy(SMALL, tmp_path / "cut")
    monkeypatch.setattr(Learner, "learn", learn)
    again = train_policy(SMALL, tmp_path / "cut")
    assert same_weights(whole, again)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    with pytest.raises(PolicyError, match="another plan"):
        train_policy(replace(SMALL, seed=1), tmp_path / "cut")


def test_a_network_learns_to_propose_better_than_the_screen_and_chance(tmp_path: Path) -> None:
    syllabus = Syllabus(scenario="ieee14", states=220, variants=2, most=60)
    learned, kept = held_back(course_of(syllabus, 0, keep=tmp_path, say=lambda _: None), 0.25)
    learner = Learner(OrderScorer(Shape(hidden=24, layers=2)), Pace(steps=150), 0)
    before = rate(learner.network, kept, k=3)
    for _ in range(150):
        learner.learn([learned])
    after = rate(learner.network, kept, k=3)
    drawn = np.random.default_rng(0).random(kept.lessons.mark.shape)
    assert after.gain > before.gain
    assert after.gain > proposed(kept.lessons, drawn, 3)[0] + 0.1
    assert after.explained > 0.3


def test_marks_put_the_experts_choice_first() -> None:
    """Whatever it would carry out, n1_greedy's order of merit has it at the top."""
    world = scenarios.load("ieee14").world()
    choices = all_choices(world)
    state = draw_states(world, choices, 24, np.random.default_rng(4), Trouble())
    may = choices.allowed(world, state)
    found = judge(world, choices, state, may, most=1000)
    alive = np.isfinite(found.worst)
    mark = np.where(alive, marks(found, 0.95), np.inf)
    best = mark.argmin(axis=1)
    rows = np.arange(state.batch)
    cost = found.cost(0.95)
    excess = np.maximum(found.worst, 0.95)
    # no order with less overload and as few lost outages has a lower loading after an outage
    for b in rows[alive.any(axis=1)]:
        k = best[b]
        better = (excess[b] <= excess[b, k]) & (found.lost[b] <= found.lost[b, k])
        better &= (cost[b] < cost[b, k] - 1e-6) & (np.minimum(found.outage[b], 3) < 3)
        assert (mark[b, better] <= mark[b, k] + 1e-5).all()


def test_lessons_come_back_from_their_file(tmp_path: Path) -> None:
    world = scenarios.load("ieee5").world()
    choices = all_choices(world)
    state = draw_states(world, choices, 12, np.random.default_rng(0), Trouble())
    made = lesson(world, choices, state, most=20)
    write_lesson(tmp_path / "a.npz", made)
    found = read_lesson(tmp_path / "a.npz")
    assert found.active.keys() == made.active.keys()
    for name in ("whole", "estimates", "allowed", "worst", "mark"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    for kind, x in made.nodes.items():
        np.testing.assert_array_equal(found.nodes[kind], x)


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("seed = -1", "seed"),
        ("sed = 1", "sed"),
        ("[network]\nhidden = 'wide'", "hidden"),
        ("[network]\nlayers = true", "layers"),
        ("[network]\nhidden = 100000", "hidden"),
        ("[learning]\nsteps = 0", "steps"),
        ("[practice]\nturns = -1", "turns"),
        ("[[lessons]]\nscenario = 'ieee14'", "states"),
        ("[[lessons]]\nscenario = 'ieee14'\nstates = 5\nstate = 1", "state"),
        ("lessons = 3", "lessons"),
        ("network = 3", "network"),
        ("= 3", "cannot be read"),
    ),
)
def test_odd_plans_are_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=said):
        read_plan(path)


def test_a_plan_is_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "seed = 4\n[network]\nhidden = 8\nscreen = false\n[learning]\nsteps = 9\n"
        "learning_rate = 1\n[[lessons]]\nscenario = 'ieee30'\nstates = 7\n",
        encoding="utf-8",
    )
    plan = read_plan(path)
    assert plan.seed == 4
    assert plan.network == Shape(hidden=8, screen=False)
    assert plan.learning == Pace(steps=9, learning_rate=1)
    assert plan.lessons == (Syllabus(scenario="ieee30", states=7),)
    assert plan.digest != Plan().digest
    assert training.QUICK.digest != Plan().digest
