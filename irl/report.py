"""The report of a fit: one HTML file that loads nothing, or its figure as SVG or PNG."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from irl.errors import IrlError
from irl.record import NOTHING_SHARED

SUFFIXES = (".html", ".svg", ".png")
# Told apart without colour vision too (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def write_report(path: Path, document: Mapping[str, Any]) -> None:
    """Write the report; the file's ending says as what.

    Raises
    ------
    IrlError
        The ending is none of .html, .svg and .png, or the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise IrlError(f"{path}: a report is one of {', '.join(SUFFIXES)}.")
    content = _html(document) if kind == ".html" else _picture(document, kind[1:])
    try:
        path.write_bytes(content)
    except OSError as error:
        raise IrlError(f"{path}: cannot be written ({error.strerror}).") from error


def _html(document: Mapping[str, Any]) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    svg = _picture(document, "svg").decode()
    page = environment.get_template("report.html").render(
        fit=document,
        nothing_shared=NOTHING_SHARED,
        picture=Markup(svg[svg.index("<svg") :]),  # noqa: S704 - matplotlib escapes its texts
    )
    return page.encode()


def _picture(document: Mapping[str, Any], kind: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_weight = max(len(a["weights"]) for a in document["agents"])
    figure = Figure(figsize=(11.0, 2.2 + 0.32 * n_weight * (1 + len(document["agents"]) / 3)),
                    layout="constrained")  # fmt: skip
    FigureCanvasAgg(figure)
    weights, rounds, told = figure.subplots(1, 3, width_ratios=(1.6, 1.0, 1.0))
    _weights(weights, document)
    _convergence(rounds, document)
    _exit(told, document)
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def _weights(axes: Any, document: Mapping[str, Any]) -> None:
    """Every weight with its 90 % interval: what is shared in black, agents in colours."""
    groups = [("shared", document["weights"], "#000000")]
    for k, agent in enumerate(document["agents"]):
        groups.append((agent["name"], agent["weights"], COLOURS[k % (len(COLOURS) - 1)]))
    names = list(dict.fromkeys(w["name"] for _, group, _ in groups for w in group))
    for k, (name, group, colour) in enumerate(groups):
        y = np.array([names.index(w["name"]) for w in group]) + 0.8 * (k + 0.5) / len(groups) - 0.4
        mean, low, high = (np.array([w[key] for w in group]) for key in ("mean", "low", "high"))
        reach = np.maximum([mean - low, high - mean], 0.0)
        axes.errorbar(
            mean, y, xerr=reach, fmt="o", markersize=4, capsize=2, label=_plain(name), color=colour
        )
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.invert_yaxis()
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    axes.set_xlabel("weight, 90 % interval")
    axes.legend(fontsize="small")


def _convergence(axes: Any, document: Mapping[str, Any]) -> None:
    moved = [(k + 1, r["change"]) for k, r in enumerate(document["rounds"]) if r["change"]]
    if moved:
        axes.semilogy(*zip(*moved, strict=True), marker="o", color=COLOURS[0])
    axes.set(xlabel="round", ylabel="largest move of a weight")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(visible=True, alpha=0.3)


def _exit(axes: Any, document: Mapping[str, Any]) -> None:
    """What each agent heard against what it said, round by round."""
    names = list(dict.fromkeys(name for r in document["rounds"] for name in r["told"]))
    for k, name in enumerate(names):
        told = [r["told"][name] for r in document["rounds"] if name in r["told"]]
        axes.plot([t["heard"] for t in told], [t["said"] for t in told], marker="o",
                  markersize=4, label=_plain(name), color=COLOURS[k % len(COLOURS)])  # fmt: skip
    axes.set(xlabel="heard of the shared weights, nats", ylabel="said of them, nats")
    axes.grid(visible=True, alpha=0.3)
    if names:
        axes.legend(fontsize="small")


def _plain(text: str) -> str:
    """A dollar sign would begin a formula."""
    return text.replace("$", r"\$")
