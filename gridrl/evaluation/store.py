"""Finished episodes on disk, a line each: what was played is never played again.

A folder holds ``run.json`` (what was asked) and ``episodes.jsonl``. A line that a kill cut short is
left out when the file is read, and overwritten.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gridrl.errors import ScenarioError
from gridrl.evaluation.ledger import Row

RUN, EPISODES = "run.json", "episodes.jsonl"
FORMAT = 1
KEY = ("scenario", "policy", "episode", "seed")


class Store:
    """Rows of finished episodes, in a folder or, without one, in memory alone.

    Raises
    ------
    ScenarioError
        The folder cannot be written, or holds the episodes of another evaluation.
    """

    def __init__(self, folder: Path | None, settings: Row) -> None:
        self.folder = folder
        self.rows: dict[tuple[Any, ...], Row] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._agree(folder / RUN, settings)
            self._read(folder / EPISODES)
        except OSError as broken:
            raise ScenarioError(
                f"{folder}: results cannot be kept there ({broken.strerror}). Name another folder."
            ) from broken

    def has(self, **key: Any) -> bool:
        return tuple(key[name] for name in KEY) in self.rows

    def add(self, row: Row) -> None:
        """Keep a row, on disk before this returns."""
        self.rows[tuple(row[name] for name in KEY)] = row
        if self.folder is not None:
            with (self.folder / EPISODES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def chosen(self, keys: Iterable[tuple[Any, ...]]) -> list[Row]:
        """Rows of some keys, in that order, where they are finished."""
        return [self.rows[key] for key in keys if key in self.rows]

    @staticmethod
    def _agree(path: Path, settings: Row) -> None:
        """Scenarios that are there already must be the same ones; new ones are added."""
        settings = {"format": FORMAT, **settings}
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                known = dict(before["scenarios"])
            except (ValueError, KeyError, TypeError, UnicodeDecodeError) as broken:
                raise ScenarioError(
                    f"{path} is not what gridrl evaluate writes. Name another folder."
                ) from broken
            for key in ("format", "steps", "n1_every"):
                if before.get(key) != settings[key]:
                    raise ScenarioError(
                        f"{path.parent} holds episodes with {key} {before.get(key)}, not "
                        f"{settings[key]}. Ask for the same, or name another folder."
                    )
            for name, digest in settings["scenarios"].items():
                if known.setdefault(name, digest) != digest:
                    raise ScenarioError(
                        f"{path.parent} holds episodes of another scenario '{name}': its grid, "
                        "series or rules have changed since. Name another folder."
                    )
            settings["scenarios"] = known
        _replace(path, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")

    def _read(self, path: Path) -> None:
        if not path.is_file():
            return
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                key = tuple(row[name] for name in KEY)
                complete = {"steps", "horizon", "ending", "trace"} <= row.keys()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if not complete:
                continue
            self.rows[key] = row
            kept.append(line)
        _replace(path, "".join(line + "\n" for line in kept))


def _replace(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    scratch = path.with_suffix(path.suffix + ".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
