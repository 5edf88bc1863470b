"""Policies by name: ours, and those that other distributions bring.

A distribution adds one by an entry point of the group ``gridrl.policies`` that leads to a class
or function; what it is called with are the options, what it returns is a `Policy`.
"""

import difflib
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any

from gridrl.errors import PolicyError
from gridrl.policies.policy import Policy

GROUP = "gridrl.policies"
OURS = {
    "do_nothing": "gridrl.policies.rules:DoNothing",
    "reconnect": "gridrl.policies.rules:Reconnect",
    "revert": "gridrl.policies.rules:Revert",
    "random": "gridrl.policies.rules:Random",
    "greedy": "gridrl.policies.greedy:Greedy",
    "n1_greedy": "gridrl.policies.greedy:SecureGreedy",
    "learned": "gridrl.policies.learned:Learned",
    "dc_redispatch": "gridrl.policies.dispatch:DcRedispatch",
    "ac_redispatch": "gridrl.policies.dispatch:AcRedispatch",
    "dc_switching": "gridrl.policies.dispatch:DcSwitching",
}


def names() -> tuple[str, ...]:
    """Names of all policies, ours first."""
    return (*OURS, *(entry.name for entry in entry_points(group=GROUP) if entry.name not in OURS))


def load(name: str, **options: Any) -> Policy:
    """A policy by name.

    Parameters
    ----------
    options
        As the policy states them, such as ``threshold`` of "greedy".

    Raises
    ------
    PolicyError
        There is no such policy or option, or an option has a value that makes no sense.
    """
    made = _maker(name)
    known = _options(made)
    strange = [option for option in options if option not in known]
    if strange:
        has = f"It has {', '.join(known)}." if known else "It has none."
        raise PolicyError(f"Policy '{name}' has no option '{strange[0]}'. {has}")
    try:
        policy = made(**options)
    except (TypeError, ValueError) as wrong:
        raise PolicyError(f"Policy '{name}': {wrong}") from wrong
    if not isinstance(policy, Policy):
        raise PolicyError(
            f"'{name}' gives a {type(policy).__name__}, which is no policy: it needs a name and "
            "a method decide."
        )
    return policy


def parse(text: str) -> Policy:
    """A policy as a command line names it: ``greedy`` or ``greedy:threshold=0.9,lines=false``.

    Raises
    ------
    PolicyError
        See `load`; or an option is not of the form ``name=value``.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise PolicyError(f"'{part}' in '{text}' is no option. Write name=value.")
        options[key.strip()] = _value(value.strip())
    return load(name, **options)


def described(policy: Policy) -> str:
    """The policy as `parse` takes it, with the options that differ from the defaults."""
    changed = []
    options: Any = policy
    for item in fields(options) if is_dataclass(options) else ():
        value = getattr(policy, item.name)
        if item.init and item.default is not MISSING and value != item.default:
            plain = str(value).lower() if isinstance(value, bool) else str(value)
            changed.append(f"{item.name}={plain}")
    return policy.name + (f":{','.join(changed)}" if changed else "")


def _maker(name: str) -> Callable[..., Policy]:
    if name in OURS:
        module, _, attribute = OURS[name].partition(":")
        made: Callable[..., Policy] = getattr(import_module(module), attribute)
        return made
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                found: Callable[..., Policy] = entry.load()
            except (ImportError, AttributeError) as broken:
                raise PolicyError(f"Policy '{name}' cannot be imported: {broken}.") from broken
            return found
    near = difflib.get_close_matches(name, names(), n=2)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names())}."
    raise PolicyError(f"There is no policy '{name}'. {hint}")


def _options(made: Callable[..., Policy]) -> list[str]:
    return [parameter for parameter in signature(made).parameters if parameter != "self"]


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
