"""Fixtures that several test modules share."""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import gridrl
from gridrl.case import Case


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run ``gridrl ARGUMENTS`` in this process."""
    from gridrl.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["gridrl", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        code = exit_.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture(scope="session")
def case14() -> Case:
    return gridrl.load("case14")


@pytest.fixture(scope="session")
def case39() -> Case:
    return gridrl.load("case39")


@pytest.fixture(scope="session")
def case118() -> Case:
    return gridrl.load("case118")
