"""Lessons on many grids: which, how many, drawn once and kept in files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.env.choices import all_choices
from gridrl.env.simulate import taken
from gridrl.env.view import static_of
from gridrl.env.world import World
from gridrl.errors import PolicyError
from gridrl.graphs.candidate import CandidateView
from gridrl.policies.policy import Policy
from gridrl.policies.tokens import tokens_of
from gridrl.training.expert import Lesson, Say, joined, lesson
from gridrl.training.imitation import Course
from gridrl.training.practice import visited
from gridrl.training.states import Trouble, draw_states

SPARE = 2.5  # states drawn for one that is kept
DRAWS = 8  # times that more are drawn, where few are worth it
LOAD, MARGIN = (0.85, 1.15), (0.8, 1.2)  # of a scenario's load and ratings, in its variants


@dataclass(frozen=True, kw_only=True)
class Syllabus:
    """What is to be learned from one scenario."""

    scenario: str
    states: int
    variants: int = 6  # load, ratings and series of each are its own
    most: int = 100  # orders that the expert looks at with outages
    trouble: Trouble = field(default_factory=Trouble)

    def __post_init__(self) -> None:
        for name in ("states", "variants", "most"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PolicyError(f"{name} is {value!r}; give a whole number, 1 or more.")


def worlds_of(syllabus: Syllabus, seed: int) -> list[World]:
    """Variants of a scenario: the same grid under other loads, ratings and series.

    The first is the scenario's own training pack.
    """
    scenario: Any = import_module("scenarios").load(syllabus.scenario)
    rng = np.random.default_rng([seed, *syllabus.scenario.encode()])
    out = [scenario.world(pack="train" if scenario.test_episodes else "all")]
    for k in range(1, syllabus.variants):
        made = replace(scenario, frozen=())
        load, margin = rng.uniform(*LOAD), rng.uniform(*MARGIN)
        if scenario.recipe is not None:
            recipe = replace(
                scenario.recipe, seed=scenario.recipe.seed + 10_000 * (seed + 1) + k, episodes=4,
                load_peak=scenario.recipe.load_peak * load,
            )  # fmt: skip
            made = replace(made, recipe=recipe, test_episodes=0)
        if scenario.rating is not None:
            rating = replace(scenario.rating, margin=scenario.rating.margin * margin)
            made = replace(made, rating=rating)
        out.append(made.world())
    return out


def course_of(syllabus: Syllabus, seed: int, *, keep: Path | None = None, say: Say) -> Course:
    """Draw states of a scenario and let the expert judge them; from files where they are kept."""
    worlds = worlds_of(syllabus, seed)
    choices = all_choices(worlds[0])
    view = CandidateView(static_of(worlds[0]))
    parts = []
    each = -(-syllabus.states // syllabus.variants)
    for k, world in enumerate(worlds):
        path = None if keep is None else keep / f"{_digest(syllabus, seed, k)}.npz"
        if path is not None and path.is_file():
            parts.append(read_lesson(path))
            continue
        say(f"{syllabus.scenario}: states {k * each} to {(k + 1) * each} of {syllabus.states}")
        part = _drawn(world, syllabus, each, np.random.default_rng([seed, k]))
        if part is None:
            continue
        parts.append(part)
        if path is not None:
            write_lesson(path, part)
    if not parts:
        raise PolicyError(
            f"No state of {syllabus.scenario} is worth learning from: nothing is loaded to "
            f"{100 * syllabus.trouble.low:g} % or more. Lower its ratings, or leave it out."
        )
    return Course(
        name=syllabus.scenario, view=view,
        tokens=tokens_of(view, choices.set_busbar, choices.set_line), lessons=joined(parts),
    )  # fmt: skip


def practised(
    syllabus: Syllabus, seed: int, turn: int, policy: Policy, size: int, *, keep: Path, say: Say
) -> Lesson | None:
    """The expert's marks of what a policy runs into in a scenario's own training pack."""
    path = keep / f"{_digest(syllabus, seed, 0)}-practice{turn}.npz"
    if path.is_file():
        return read_lesson(path)
    say(f"{syllabus.scenario}: practice {turn}")
    world = worlds_of(replace(syllabus, variants=1), seed)[0]
    choices = all_choices(world)
    state = visited(world, choices, policy, size, np.random.default_rng([seed, turn]))
    if state is None:
        return None
    made = lesson(world, choices, state, most=syllabus.most)
    write_lesson(path, made)
    return made


def _drawn(world: World, syllabus: Syllabus, size: int, rng: np.random.Generator) -> Lesson | None:
    choices = all_choices(world)
    parts: list[Lesson] = []
    got = 0
    for _ in range(DRAWS):
        state = draw_states(world, choices, int(SPARE * (size - got)) + 8, rng, syllabus.trouble)
        some = taken(state, np.arange(min(state.batch, size - got)))
        if some.batch:
            parts.append(lesson(world, choices, some, most=syllabus.most))
            got += some.batch
        if got >= size:
            break
    return joined(parts) if parts else None


def _digest(syllabus: Syllabus, seed: int, k: int) -> str:
    text = json.dumps([asdict(syllabus), seed, k], sort_keys=True)
    return f"{Path(syllabus.scenario).stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def write_lesson(path: Path, lessons: Lesson) -> None:
    """As one file of arrays, whole or not at all."""
    arrays: dict[str, np.ndarray] = {
        name: getattr(lessons, name) for name in ("whole", "estimates", "allowed", "worst", "mark")
    }
    arrays |= {f"node {kind}": x for kind, x in lessons.nodes.items()}
    arrays |= {f"edge {' '.join(relation)}": x for relation, x in lessons.active.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft.npz")
    np.savez(draft, allow_pickle=False, **arrays)
    draft.replace(path)


def read_lesson(path: Path) -> Lesson:
    """What `write_lesson` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    nodes = {n.removeprefix("node "): x for n, x in arrays.items() if n.startswith("node ")}
    edges: Any = {tuple(n.split(" ")[1:]): x for n, x in arrays.items() if n.startswith("edge ")}
    return Lesson(
        nodes=nodes, active=edges,
        **{name: arrays[name] for name in ("whole", "estimates", "allowed", "worst", "mark")},
    )  # fmt: skip


def held_back(course: Course, share: float) -> tuple[Course, Course]:
    """Lessons to learn from, and the last ones of the course to check with."""
    n = len(course.lessons)
    kept = max(1, n - max(1, round(share * n)))
    return tuple(  # type: ignore[return-value]
        replace(course, lessons=course.lessons.some(which))
        for which in (np.arange(kept), np.arange(kept, n))
    )


def sizes(courses: Sequence[Course]) -> dict[str, int]:
    """How many lessons there are on each grid."""
    return {course.name: len(course.lessons) for course in courses}
