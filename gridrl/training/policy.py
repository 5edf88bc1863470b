"""From a plan to the weights of a policy: lessons, imitation, its own mistakes, a file.

Everything that takes long is kept in a folder, so that the same call goes on where it was stopped
and ends with the same weights.
"""

import csv
import hashlib
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

import gridrl
from gridrl.errors import PolicyError
from gridrl.policies.gnn import OrderScorer, Shape
from gridrl.policies.learned import Learned
from gridrl.policies.weights import save_weights
from gridrl.training.expert import Say, joined
from gridrl.training.imitation import Course, Learner, Pace, rate
from gridrl.training.lessons import Syllabus, course_of, held_back, practised, sizes

CHECKPOINT_EVERY = 100  # steps
CHECKED = 0.05  # share of the lessons kept to check with
COLUMNS = ("step", "choice", "loading")
Bar = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Practice:
    """How often the policy operates grids itself, to learn from where that leads."""

    turns: int = 2  # spread evenly over the steps
    states: int = 300  # of each scenario and turn
    k: int = 5  # orders that it simulates meanwhile


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to learn from and how. `read_plan` reads it from a TOML file."""

    seed: int = 0
    network: Shape = field(default_factory=Shape)
    learning: Pace = field(default_factory=Pace)
    practice: Practice = field(default_factory=Practice)
    lessons: tuple[Syllabus, ...] = (
        Syllabus(scenario="ieee5", states=600, variants=4),
        Syllabus(scenario="ieee14", states=5000, variants=10, most=300),
        Syllabus(scenario="ieee30", states=3000, variants=6, most=150),
        Syllabus(scenario="ieee57", states=1500, variants=6, most=60),
    )

    @property
    def digest(self) -> str:
        """Of all settings: a folder holds the work of one plan."""
        text = json.dumps(asdict(self), sort_keys=True) + gridrl.__version__
        return hashlib.sha256(text.encode()).hexdigest()


QUICK = Plan(
    learning=Pace(steps=1500),
    practice=Practice(turns=1, states=150),
    lessons=(
        Syllabus(scenario="ieee14", states=2000, variants=6, most=300),
        Syllabus(scenario="ieee30", states=600, variants=4, most=100),
    ),
)


TABLES: dict[str, type[Any]] = {"network": Shape, "learning": Pace, "practice": Practice}


def read_plan(path: Path) -> Plan:
    """A plan from TOML: ``seed``, [network], [learning], [practice], [[lessons]] for each grid.

    Raises
    ------
    PolicyError
        The file is no TOML, or names what there is not.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise PolicyError(f"{path} cannot be read as a plan: {broken}.") from broken
    strange = set(found) - {"seed", "lessons", *TABLES}
    if strange:
        raise PolicyError(
            f"{path.name}: there is no entry '{min(strange)}'. There are seed, [network], "
            "[learning], [practice] and [[lessons]]."
        )
    parts: dict[str, Any] = {}
    if "seed" in found:
        parts["seed"] = _number(path, "seed", found["seed"])
    for name, kind in TABLES.items():
        if name in found:
            parts[name] = _made(path, name, kind, found[name])
    if "lessons" in found:
        if not isinstance(found["lessons"], list) or not found["lessons"]:
            raise PolicyError(f"{path.name}: write [[lessons]] once for each scenario.")
        parts["lessons"] = tuple(
            _made(path, "lessons", Syllabus, entry) for entry in found["lessons"]
        )
    return Plan(**parts)


def _number(path: Path, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PolicyError(f"{path.name}: {name} is {value!r}; give a whole number, 0 or more.")
    return value


def _made(path: Path, name: str, kind: type[Any], entries: object) -> Any:
    """A part of the plan, every entry of the type that its default has."""
    if not isinstance(entries, dict):
        raise PolicyError(f"{path.name}: [{name}] is no table of entries.")
    known = {item.name: item for item in fields(kind) if item.name != "trouble"}
    for key, value in entries.items():
        if key not in known:
            raise PolicyError(
                f"{path.name}: [{name}] has no entry '{key}'. There are {', '.join(known)}."
            )
        wanted: Any = known[key].type
        fits = isinstance(value, bool) == (wanted is bool) and isinstance(
            value, (int, float) if wanted is float else wanted
        )
        least = 0 if key == "turns" else 1e-12
        if not fits or (not isinstance(value, bool | str) and not value >= least):
            raise PolicyError(f"{path.name}: {key} in [{name}] is {value!r}; that makes no sense.")
    missing = [need for need in ("scenario", "states") if kind is Syllabus and need not in entries]
    if missing:
        raise PolicyError(f"{path.name}: an entry of [[lessons]] lacks {missing[0]}.")
    try:
        return kind(**entries)
    except ValueError as wrong:
        raise PolicyError(f"{path.name}: [{name}]: {wrong}.") from wrong


def train_policy(
    plan: Plan, folder: Path, *, bar: Bar = lambda _share, _now: None, say: Say = lambda _: None
) -> Path:
    """Learn by a plan; returns the file of weights.

    Raises
    ------
    PolicyError
        The folder holds the work of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, plan)
    torch.set_num_threads(1)  # the same result whatever the machine; sums differ with threads
    courses = []
    for k, syllabus in enumerate(plan.lessons):
        share = 0.4 * k / len(plan.lessons)
        bar(share, f"lessons on {syllabus.scenario}")
        courses.append(course_of(syllabus, plan.seed, keep=folder / "lessons", say=say))
    pairs = [held_back(course, CHECKED) for course in courses]
    learning, checking = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    torch.manual_seed(plan.seed)
    learner = Learner(OrderScorer(plan.network), plan.learning, plan.seed)
    _resume(folder, learner)
    turns = plan.practice.turns
    with _Log(folder, learner.step) as log:
        for turn in range(turns + 1):
            if turn:
                learning = _practise(plan, folder, learner, learning, turn, say)
            _learn(learner, learning, plan.learning.steps * (turn + 1) // (turns + 1), log,
                   lambda share: bar(0.4 + 0.6 * share, "imitation"))  # fmt: skip
            _keep(folder, learner)
            say(f"step {learner.step}: {_rated(learner.network, checking)}")
    out = folder / "policy.safetensors"
    scores = {course.name: asdict(rate(learner.network, course)) for course in checking}
    history = {
        "gridrl": gridrl.__version__, "plan": asdict(plan), "lessons": sizes(courses),
        "held_back": scores,
    }  # fmt: skip
    save_weights(learner.network, out, history)
    return out


def _learn(
    learner: Learner, courses: Sequence[Course], until: int, log: "_Log",
    bar: Callable[[float], None],
) -> None:  # fmt: skip
    while learner.step < until:
        log.note(learner.step, learner.learn(courses))
        if learner.step % CHECKPOINT_EVERY == 0:
            log.flush()
            _keep(log.folder, learner)
            bar(learner.step / learner.pace.steps)


def _practise(
    plan: Plan, folder: Path, learner: Learner, courses: Sequence[Course], turn: int, say: Say
) -> list[Course]:
    """The courses with what the network of now runs into; of a turn that is over, from files."""
    weights = folder / f"turn{turn}.safetensors"
    if not weights.is_file():
        save_weights(learner.network, weights, {"step": learner.step})
    policy = Learned(weights=str(weights), k=plan.practice.k)
    out = []
    for course, syllabus in zip(courses, plan.lessons, strict=True):
        more = practised(
            syllabus, plan.seed, turn, policy, plan.practice.states, keep=folder / "lessons",
            say=say,
        )  # fmt: skip
        parts = [course.lessons] if more is None else [course.lessons, more]
        out.append(replace(course, lessons=joined(parts)))
    return out


def _rated(network: OrderScorer, courses: Sequence[Course]) -> str:
    said = []
    for course in courses:
        found = rate(network, course)
        said.append(
            f"{course.name} {100 * found.gain:.1f} % of the expert's gain, "
            f"{100 * found.found:.0f} % of its choices"
        )
    return "; ".join(said)


def _claim(folder: Path, plan: Plan) -> None:
    """Note the plan in the folder, or find it there."""
    path = folder / "plan.json"
    wanted = {"digest": plan.digest, "plan": asdict(plan)}
    if not path.is_file():
        path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    try:
        digest = json.loads(path.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        digest = None
    if digest != plan.digest:
        raise PolicyError(
            f"{folder} holds the work of another plan or version. Name another folder."
        )


def _keep(folder: Path, learner: Learner) -> None:
    draft = folder / "checkpoint.draft"
    torch.save(
        {"network": learner.network.state_dict(), "optimiser": learner.optimiser.state_dict(),
         "step": learner.step},
        draft,
    )  # fmt: skip
    draft.replace(folder / "checkpoint.pt")


def _resume(folder: Path, learner: Learner) -> None:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return
    try:
        found = torch.load(path, weights_only=True)
        learner.network.load_state_dict(found["network"])
        learner.optimiser.load_state_dict(found["optimiser"])
        learner.step = int(found["step"])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as broken:
        raise PolicyError(
            f"{path} cannot be read. Remove it to begin imitation anew; lessons are kept."
        ) from broken


class _Log:
    """Losses of every step as a table, for any program that draws curves."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        path = folder / "log.csv"
        rows: list[list[str]] = []
        if path.is_file() and step:
            with path.open(newline="", encoding="utf-8") as old:
                rows = [row for row in csv.reader(old) if row and row[0].isdecimal()]
                rows = [row for row in rows if int(row[0]) < step]
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)
        self._writer.writerows(rows)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def flush(self) -> None:
        """What was noted is on disk before a checkpoint says that it happened."""
        self._file.flush()

    def note(self, step: int, found: Any) -> None:
        self._writer.writerow([step, f"{found.choice:.6g}", f"{found.loading:.6g}"])
