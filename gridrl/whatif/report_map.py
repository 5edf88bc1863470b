"""A picture of a solved variant as inline SVG: loading as colour and width, the worst with numbers.

The visual language is that of `gridrl.plot`. Every text goes through `escape`: names come from
files of strangers.
"""

import math
from html import escape
from typing import NamedTuple

import numpy as np

from gridrl.grid import Floats, Grid
from gridrl.layout import positions
from gridrl.plot import LOADING, fan_out, line_widths
from gridrl.whatif.results import VariantResult

WIDTH = 1000.0
_MARGIN = 24.0
_EACH = 600  # up to so many branches each is an element with its own tooltip
_N_NUMBERED = 12
_N_NAMED = 60  # buses, up to which each carries its name


class Canvas(NamedTuple):
    """Where a grid is drawn; the same for all variants, so that pictures can be compared."""

    xy: Floats  # [n_substation, 2] pixels, downwards
    path: tuple[str, ...]  # [n_branch] SVG path data
    middle: Floats  # [n_branch, 2]
    height: float
    from_file: bool


def canvas_of(grid: Grid) -> Canvas:
    """Place a grid on a page."""
    xy, from_file = positions(grid)
    xy = xy * np.array([1.0, -1.0])
    low = xy.min(axis=0)
    extent = np.maximum(np.ptp(xy, axis=0), 1e-9)
    height = float(np.clip(WIDTH * extent[1] / extent[0], 260.0, 900.0))
    inner = np.array([WIDTH, height]) - 2 * _MARGIN
    scale = float((inner / extent).min())
    xy = (xy - low) * scale + _MARGIN + (inner - extent * scale) / 2
    lines = np.stack([xy[grid.from_substation], xy[grid.to_substation]], axis=1)
    if grid.n_branch:
        bowed = fan_out(lines, grid.from_substation, grid.to_substation)
    else:
        bowed = np.zeros((0, 4, 2))
    path = tuple("M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in _needed(points)) for points in bowed)
    return Canvas(xy, path, bowed[:, 1:3].mean(axis=1), height, from_file)


def _needed(points: Floats) -> Floats:
    """The points of a polyline; a straight one needs its ends only."""
    along, first = points[3] - points[0], points[1] - points[0]
    straight = abs(float(along[0] * first[1] - along[1] * first[0])) < 1e-6
    return points[[0, 3]] if straight else points


class Look(NamedTuple):
    """How a branch is drawn, and in which words the legend says it."""

    css: str
    text: str


LOOKS = (
    *(Look(f"c{k}", band.text) for k, band in enumerate(LOADING)),
    Look("unrated", "no rating known"),
    Look("out", "out of service"),
    Look("dead", "without supply, or no power flow"),
)
UNRATED, OUT, DEAD = len(LOADING), len(LOADING) + 1, len(LOADING) + 2


def css() -> str:
    """Style of the map and of everything that is coloured by loading."""
    rules = []
    for k, band in enumerate(LOADING):
        ink = "#fff" if k in (1, 3) else "#000"
        rules.append(f".c{k}{{stroke:{band.color}}}.h{k}{{background:{band.color};color:{ink}}}")
    rules.append(".unrated{stroke:#8a8a8a}.out{stroke:#b0b0b0;stroke-dasharray:5 4}")
    rules.append(".dead{stroke:#000;stroke-dasharray:1 3}")
    return "".join(rules)


def looks(result: VariantResult) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats]:
    """[n_branch] position in `LOOKS`, and loading in percent (NaN where there is none)."""
    grid, flow = result.case.grid, result.flow
    loading = 100.0 * flow.loading()
    look = np.searchsorted([band.upto for band in LOADING[:-1]], loading, side="left")
    look = np.where(np.isnan(loading), UNRATED, look)
    node = flow.terminal_node()
    f, t = node[: grid.n_branch], node[grid.n_branch : 2 * grid.n_branch]
    magnitude = np.abs(flow.v[0])
    live = ((f >= 0) & np.isfinite(magnitude[np.maximum(f, 0)])) | (
        (t >= 0) & np.isfinite(magnitude[np.maximum(t, 0)])
    )
    look = np.where(live, look, DEAD)
    look = np.where((f < 0) & (t < 0), OUT, look)
    return look.astype(np.int64), loading


def svg(canvas: Canvas, result: VariantResult) -> str:
    """The variant's map."""
    grid = result.case.grid
    look, loading = looks(result)
    width = line_widths(grid) * 1.3
    each = grid.n_branch <= _EACH
    order = np.argsort(-np.nan_to_num(loading, nan=-1.0), kind="stable")
    numbered = [int(k) for k in order[:_N_NUMBERED] if loading[k] > LOADING[1].upto]
    size = f'viewBox="0 0 {WIDTH:.0f} {canvas.height:.0f}"'
    label = escape(_headline(result, loading))
    parts = [f'<svg class="map" {size} role="img" aria-label="{label}">']
    for kind in (OUT, UNRATED, DEAD, *range(len(LOADING))):  # the worst are drawn last, on top
        which = np.flatnonzero(look == kind)
        extra = LOADING[kind].widen if kind < len(LOADING) else 1.0
        if each or kind == len(LOADING) - 1:
            parts += [_branch(canvas, result, int(k), kind, extra * width[k]) for k in which]
        else:
            for w in np.unique(width[which]):
                data = "".join(canvas.path[int(k)] for k in which[width[which] == w])
                parts.append(f'<path class="{LOOKS[kind].css}" stroke-width="{extra * w:.1f}" '
                             f'd="{data}"/>')  # fmt: skip
    parts += _nodes(canvas, result)
    for k in numbered:
        x, y = canvas.middle[k]
        parts.append(f'<text class="number" x="{x:.0f}" y="{y:.0f}">{loading[k]:.0f} %</text>')
    return "".join([*parts, "</svg>"])


def _headline(result: VariantResult, loading: Floats) -> str:
    known = loading[np.isfinite(loading)]
    highest = f", highest loading {known.max():.0f} %" if known.size else ""
    return f"Map of {result.name}: {int((known > 100).sum())} overloads{highest}"


def _branch(canvas: Canvas, result: VariantResult, k: int, kind: int, width: float) -> str:
    grid, flow = result.case.grid, result.flow
    p = float(flow.s_from[0, k].real) * grid.s_base_mva
    share = 100.0 * float(flow.loading()[k]) if kind < len(LOADING) else math.nan
    numbers = f"{abs(p):.1f} MW" if math.isfinite(p) else LOOKS[kind].text
    if math.isfinite(share):
        numbers += f", {share:.1f} %"
    f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
    ends = (f, t) if not p < 0 else (t, f)
    way = " \N{RIGHTWARDS ARROW} ".join(grid.substation_label[s] for s in ends)
    title = escape(f"{grid.branch_label[k]}: {numbers}, {way}")
    return (
        f'<path class="{LOOKS[kind].css}" stroke-width="{width:.1f}" d="{canvas.path[k]}">'
        f"<title>{title}</title></path>"
    )


def _nodes(canvas: Canvas, result: VariantResult) -> list[str]:
    """Substations; those outside their voltage limits as triangles that point to the side."""
    grid, flow = result.case.grid, result.flow
    magnitude = np.abs(flow.v[0])
    radius = float(np.clip(90.0 / math.sqrt(max(grid.n_substation, 1)), 1.2, 5.0))
    split = {int(s) for s in grid.terminal_substation[result.case.topology.busbar[0] == 2]}
    parts = []
    for s in np.flatnonzero(~grid.is_star).tolist():
        x, y = canvas.xy[s]
        v = float(magnitude[s])
        title = f"{grid.substation_label[s]}: " + (f"{v:.4f} p.u." if v == v else "no voltage")
        css_class = "bus split" if s in split else "bus"
        title += ", split" if s in split else ""
        low, high = v < grid.v_min[s] - 1e-6, v > grid.v_max[s] + 1e-6
        if low or high:
            title += ", below its limit" if low else ", above its limit"
            r = radius + 2.5 if low else -(radius + 2.5)
            shape = f"M{x - r:.1f} {y - r:.1f}h{2 * r:.1f}L{x:.1f} {y + r:.1f}z"
            parts.append(
                f'<path class="bus limit" d="{shape}"><title>{escape(title)}</title></path>'
            )
        else:
            if v != v:
                r = radius
                cross = f"M{x - r:.1f} {y - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}"
                parts.append(
                    f'<path class="bus dark" d="{cross}l{-2 * r:.1f} {2 * r:.1f}">'
                    f"<title>{escape(title)}</title></path>"
                )
                continue
            parts.append(
                f'<circle class="{css_class}" cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}">'
                f"<title>{escape(title)}</title></circle>"
            )
        if grid.n_bus <= _N_NAMED:
            name = escape(grid.substation_bus[s][:12])
            parts.append(
                f'<text class="name" x="{x + radius + 2:.0f}" y="{y - 3:.0f}">{name}</text>'
            )
    return parts
