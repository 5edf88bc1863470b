"""A picture of a solved grid: loading as colour, voltage level as width, the worst by number.

Only drawing: the numbers come from a `FlowResult`. Colours are told apart by lightness, too, so
that the picture can be read by the colour-blind and printed in grey.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Grid
from gridrl.layout import positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

    from gridrl.powerflow import FlowResult


class LoadingClass(NamedTuple):
    """A range of loading and how it is drawn."""

    upto: float  # percent
    text: str
    color: str
    widen: float


_INK, _ALARM = "#303030", "#a3001f"
LOADING = (
    LoadingClass(50.0, "up to 50 %", "#a6c8e0", 1.0),
    LoadingClass(80.0, "50 to 80 %", "#2b7bba", 1.0),
    LoadingClass(100.0, "80 to 100 %", "#f0a202", 1.6),
    LoadingClass(np.inf, "over 100 %", _ALARM, 2.4),
)
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_DASHES, _DOTS = (0, (4, 3)), (0, (1, 2))
_OTHER_MARKS: dict[str, dict[str, Any]] = {
    "no rating known": {"color": "#8a8a8a", "linewidth": 2.0},
    "out of service": {"color": "#b0b0b0", "linewidth": 1.6, "linestyle": _DASHES},
    "without supply": {"color": "black", "linewidth": 1.6, "linestyle": _DOTS},
    "bus": {"color": _INK, "marker": "o", "markerfacecolor": "white", "linestyle": ""},
    "bus below its limit": {
        "color": _ALARM,
        "marker": "v",
        "markerfacecolor": "white",
        "linestyle": "",
    },
    "bus above its limit": {
        "color": _ALARM,
        "marker": "^",
        "markerfacecolor": "white",
        "linestyle": "",
    },
    "bus without supply": {"color": "black", "marker": "x", "linestyle": ""},
}
_LIMIT_PU = (0.9, 1.1)  # where the grid states none
_N_WORST = 8
_N_NAMED = 160  # more buses than this cannot be named legibly


def plot_grid(
    case: Case,
    result: "FlowResult",
    *,
    path: str | Path | None = None,
    state: int = 0,
    n_worst: int = _N_WORST,
) -> "Figure":
    """Draw one solved state of a grid.

    Parameters
    ----------
    case, result
        A case and what `gridrl.flow` made of it.
    path
        File to write (.png, .svg or .pdf), if any.
    state
        Which state of the batch.
    n_worst
        How many of the most loaded branches carry a number.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot: it belongs to the caller and opens no window.
    """
    from matplotlib.figure import Figure

    xy, from_file = positions(case.grid)
    view = _View(
        grid=case.grid,
        xy=xy,
        loading=100 * result.loading(state),
        closed=_in_service(result, state),
        vm=_substation_voltages(result, state),
    )
    worst = _worst(view, n_worst)
    width, height = _page(view.xy[~case.grid.is_star])
    figure = Figure(figsize=(width + 4.2, height), layout="constrained")
    axes, side = figure.subplots(1, 2, width_ratios=(width, 4.2))
    shown = _draw_branches(axes, view)
    nodes, marks = _draw_nodes(axes, view)
    _number_worst(axes, view, worst)
    axes.set_aspect("equal")
    axes.margins(0.03)
    axes.set_axis_off()
    axes.set_title(_headline(view), loc="left", fontsize=13, fontweight="bold")
    _side_panel(side, view, worst, shown | marks, from_file=from_file)
    bar = figure.colorbar(nodes, ax=side, location="bottom", shrink=0.8, aspect=25, pad=0.0)
    bar.set_label("bus voltage, p.u.", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


class _View(NamedTuple):
    """One state of a grid, as it is to be drawn."""

    grid: Grid
    xy: Floats  # [n_substation, 2]
    loading: Floats  # [n_branch] percent, NaN where there is no rating
    closed: Bools  # [n_branch] in service
    vm: Floats  # [n_substation] p.u., NaN where without supply


def _in_service(result: "FlowResult", state: int) -> Bools:
    """[n_branch] whether a branch is closed and connected at one end at least."""
    n = result.grid.n_branch
    node = result.terminal_node(state)
    touched: Bools = (node[:n] >= 0) | (node[n : 2 * n] >= 0)
    return touched


def _substation_voltages(result: "FlowResult", state: int) -> Floats:
    """[n_substation] voltage of the busbar farther from 1 p.u.; NaN where both are dead."""
    magnitude = np.abs(result.v[state])
    first = magnitude[: result.grid.n_substation]
    second = np.where(result.second_node >= 0, magnitude[result.second_node], np.nan)
    use_second = np.isnan(first) | (np.abs(second - 1) > np.abs(first - 1))
    chosen: Floats = np.where(use_second & ~np.isnan(second), second, first)
    return chosen


def _page(xy: Floats) -> tuple[float, float]:
    """Width and height of the drawing in inches, after the grid's own proportions."""
    extent = np.maximum(np.ptp(xy, axis=0), 1e-9) if len(xy) else np.ones(2)
    ratio = float(np.clip(extent[0] / extent[1], 0.8, 2.2))
    return 8.5 * np.sqrt(ratio), 8.5 / np.sqrt(ratio)


def line_widths(grid: Grid) -> Floats:
    """[n_branch] points; each higher voltage level is drawn wider, large grids thinner."""
    kv = np.maximum(grid.vn_kv[grid.from_substation], grid.vn_kv[grid.to_substation])
    levels = np.unique(kv)
    rank = np.searchsorted(levels, kv) / max(len(levels) - 1, 1)
    if len(levels) == 1:
        rank = np.full(kv.shape, 0.5)
    crowd = float(np.clip((150 / max(grid.n_substation, 1)) ** 0.35, 0.25, 1.0))
    widths: Floats = (1.0 + 2.2 * rank) * crowd
    return widths


def _draw_branches(axes: "Axes", view: _View) -> frozenset[str]:
    """Draw the branches; return which kinds of mark were used."""
    from matplotlib.collections import LineCollection

    grid, xy, loading, vm = view.grid, view.xy, view.loading, view.vm
    lines = np.stack([xy[grid.from_substation], xy[grid.to_substation]], axis=1)
    lines = fan_out(lines, grid.from_substation, grid.to_substation)
    widths = line_widths(grid)
    alive = ~(np.isnan(vm[grid.from_substation]) & np.isnan(vm[grid.to_substation]))
    alive |= grid.is_star[grid.from_substation] | grid.is_star[grid.to_substation]

    shown = set()

    def add(which: Bools, color: str, style: Any, widen: float, z: float, text: str) -> None:
        if which.any():
            shown.add(text)
            axes.add_collection(
                LineCollection(
                    list(lines[which]),
                    colors=color,
                    linewidths=widths[which] * widen,
                    linestyles=style,
                    zorder=z,
                )
            )

    closed = view.closed
    live = closed & alive
    for which, text in (
        (live & np.isnan(loading), "no rating known"),
        (~closed, "out of service"),
        (closed & ~alive, "without supply"),
    ):
        mark = _OTHER_MARKS[text]
        add(which, mark["color"], mark.get("linestyle", "solid"), 1.0, 1.1, text)
    below = -np.inf
    for z, band in enumerate(LOADING):
        inside = (loading > below) & (loading <= band.upto)
        add(live & inside, band.color, "solid", band.widen, 1.3 + 0.1 * z, band.text)
        below = band.upto
    return frozenset(shown)


def fan_out(lines: Floats, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    """Polylines: parallel branches bow apart, so that each circuit can be seen."""
    pair = np.stack([np.minimum(start, end), np.maximum(start, end)], axis=1)
    _, group, size = np.unique(pair, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group)) - first[group[order]]
    offset = place - (size[group] - 1) / 2
    across = np.where((start <= end)[:, None], lines[:, 1] - lines[:, 0], lines[:, 0] - lines[:, 1])
    bow = np.stack([-across[:, 1], across[:, 0]], axis=1) * (0.09 * offset)[:, None]
    middle = lines.mean(axis=1)
    # The ends stay at their substations; a third and two thirds of the way are moved aside.
    a, b = lines[:, 0] + (middle - lines[:, 0]) * 0.5, lines[:, 1] + (middle - lines[:, 1]) * 0.5
    return np.stack([lines[:, 0], a + bow, b + bow, lines[:, 1]], axis=1)


def _draw_nodes(axes: "Axes", view: _View) -> tuple["PathCollection", frozenset[str]]:
    """Draw the substations by voltage; a triangle points down or up where a limit is broken."""
    grid, xy, vm = view.grid, view.xy, view.vm
    size = float(np.clip(5000 / max(grid.n_substation, 1), 3, 75))
    low = np.where(grid.v_min > 0, grid.v_min, _LIMIT_PU[0])
    high = np.where(np.isfinite(grid.v_max), grid.v_max, _LIMIT_PU[1])
    alive = ~grid.is_star & ~np.isnan(vm)
    dead = ~grid.is_star & np.isnan(vm)
    with np.errstate(invalid="ignore"):
        under, over = alive & (vm < low - 1e-6), alive & (vm > high + 1e-6)
    reach = max(0.05, float(np.abs(vm[alive] - 1).max(initial=0.0)))

    def scatter(which: Bools, marker: str, area: float, edge: float, ink: str) -> "PathCollection":
        return axes.scatter(
            xy[which, 0],
            xy[which, 1],
            c=vm[which],
            s=area,
            marker=marker,
            cmap="PRGn",  # purple to green: safe for the colour-blind
            vmin=1 - reach,
            vmax=1 + reach,
            edgecolors=ink,
            linewidths=edge,
            zorder=3,
        )

    drawn = scatter(alive & ~under & ~over, "o", size, 0.7 if size > 10 else 0.2, _INK)
    marks = {"bus"}
    for which, marker, text in (
        (under, "v", "bus below its limit"),
        (over, "^", "bus above its limit"),
    ):
        if which.any():
            scatter(which, marker, max(2.0 * size, 14.0), 1.4, _ALARM)
            marks.add(text)
    if dead.any():
        axes.scatter(xy[dead, 0], xy[dead, 1], c="black", s=size, marker="x", zorder=3)
        marks.add("bus without supply")
    if grid.n_bus <= _N_NAMED:
        _name_buses(axes, view)
    return drawn, frozenset(marks)


def _name_buses(axes: "Axes", view: _View) -> None:
    for s in np.flatnonzero(~view.grid.is_star).tolist():
        axes.annotate(
            _place(view.grid, s),
            view.xy[s],
            xytext=(4.5, 3.5),
            textcoords="offset points",
            fontsize=6,
            color="#404040",
            zorder=4,
        )


def _place(grid: Grid, substation: int, limit: int = 9) -> str:
    """Name of a substation, cut to fit beside its dot."""
    name = grid.substation_name[substation]
    return name if len(name) <= limit else name[: limit - 1] + _ELLIPSIS


def _worst(view: _View, count: int) -> list[int]:
    """The most loaded branches, one for each element, worst first."""
    order = np.argsort(-np.nan_to_num(view.loading, nan=-1.0), kind="stable")
    order = order[~np.isnan(view.loading[order])]
    _, first = np.unique(view.grid.branch_element[order], return_index=True)
    chosen: list[int] = order[np.sort(first)][:count].tolist()
    return chosen


def _number_worst(axes: "Axes", view: _View, worst: Sequence[int]) -> None:
    """Put the rank beside the middle of each of the most loaded branches."""
    grid, xy = view.grid, view.xy
    for rank, branch in enumerate(worst, start=1):
        start, end = xy[grid.from_substation[branch]], xy[grid.to_substation[branch]]
        along = end - start
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-12)
        over = view.loading[branch] > 100
        axes.annotate(
            str(rank),
            (start + end) / 2,
            xytext=tuple(13 * across),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            color="white" if over else "black",
            bbox={
                "boxstyle": "circle,pad=0.25",
                "facecolor": _ALARM if over else "white",
                "edgecolor": "black",
                "linewidth": 0.8,
            },
            arrowprops={"arrowstyle": "-", "linewidth": 0.8, "color": "black", "shrinkA": 0},
            zorder=6,
        )


def _headline(view: _View) -> str:
    rated = view.loading[~np.isnan(view.loading)]
    if not rated.size:
        return f"{view.grid.name}: no branch has a rating"
    over = int((rated > 100).sum())
    count = f"{over or 'no'} overload{'' if over == 1 else 's'}"
    return f"{view.grid.name}: {count}, highest loading {rated.max():.1f} %"


def _side_panel(
    axes: "Axes",
    view: _View,
    worst: Sequence[int],
    shown: frozenset[str],
    *,
    from_file: bool,
) -> None:
    """The legend, of what is in this picture, and the numbered branches with their loading."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    kv = sorted(set(view.grid.vn_kv[~view.grid.is_star].tolist()))
    span = f"{kv[0]:g} kV" + (f" to {kv[-1]:g} kV (widest)" if len(kv) > 1 else "")
    handles = [
        Line2D([], [], color=band.color, linewidth=2.2 * band.widen, label=band.text)
        for band in LOADING
    ]
    handles += [
        Line2D([], [], label=text, **style) for text, style in _OTHER_MARKS.items() if text in shown
    ]
    axes.legend(
        handles=handles,
        title=f"Loading of branches, {span}",
        loc="upper left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
    lines = [f"The {len(worst)} most loaded branches:"] if worst else []
    lines += [
        f"{rank:2d} {view.loading[branch]:6.1f} %  {_short(view.grid, branch)}"
        for rank, branch in enumerate(worst, start=1)
    ]
    lines += ["", "Drawn at the file's positions." if from_file else "Drawn by computed positions."]
    axes.annotate(
        "\n".join(lines),
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, -17 * (len(handles) + 2)),  # below the legend
        textcoords="offset points",
        va="top",
        fontsize=9,
        family="monospace",
    )


def _short(grid: Grid, branch: int, limit: int = 34) -> str:
    """How the list calls a branch: kind:id, its name if it has one, else where it runs."""
    text, element = grid.branch_label[branch], int(grid.branch_element[branch])
    if text == f"{grid.element_kind[element]}:{grid.element_id[element]}":
        ends = (int(grid.from_substation[branch]), int(grid.to_substation[branch]))
        text += f", {_place(grid, ends[0])} - {_place(grid, ends[1])}"
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
