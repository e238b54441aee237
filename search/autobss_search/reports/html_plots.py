"""The interactive plots of a study's report: plotly's figures as plain values, which need no plotly to make.

plotly reads texts as a subset of HTML: what users have named is escaped.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting
from autobss_zoo.families import Family
from autobss_zoo.plots import COLOURS, labels_of

from ..searchers.front import pareto_front
from ..spaces.budgets import Constraint
from ..studies.records import Record
from .comparison import Group, Side
from .plots import Pairs, trend

Figure = dict[str, Any]

_GREY, _FAINT = "#888888", "rgba(128, 128, 128, 0.2)"  # seen on light and on dark
_DRAWN = 3000  # pairs at most
_DASHES = ("solid", "dash", "dot", "dashdot")


def text(value: object) -> str:
    """A value as plotly shows it literally; a long one, such as a code of many elements, in several lines."""
    lines = textwrap.wrap(str(value).replace(",", ", "), 100) if len(str(value)) > 100 else [str(value)]
    return "<br>".join(html.escape(line, quote=False) for line in lines)  # plotly knows no &quot;


def amount(value: float) -> str:
    """A score or a cost for people."""
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:#.5g}"


def round_name(round: int) -> str:
    """A trial's round, counted from 1 as in all reports."""
    return f"round {round + 1}" if round >= 0 else "known before"


def history(records: Sequence[Record], direction: str) -> Figure:
    """Scores by trial, coloured by round, with the best so far; failed trials at the bottom."""
    scored = [r for r in records if r.value is not None]
    failed = [r for r in records if r.state == "failed"]
    numbers, count = [r.number for r in scored], records[-1].number + 1
    better = np.maximum if direction == "maximize" else np.minimum
    return {
        "data": [
            {
                **_points(numbers, [r.value for r in scored], scored),
                "name": "score",
                "marker": _by_round(scored),
            },
            {
                **_line(numbers, better.accumulate(np.array([r.value for r in scored], float)), _GREY),
                "name": "best so far",
                "line": {"color": _GREY, "width": 2, "shape": "hv"},
            },
            {
                **_points([r.number for r in failed], [0.03] * len(failed), failed),
                "name": "failed",
                "yaxis": "y2",
                "marker": {"size": 8, "symbol": "x", "color": COLOURS[3]},
            },
        ],
        "layout": _layout(
            xaxis=_axis("trial", range=[-0.5 - 0.02 * count, count - 0.5 + 0.02 * count]),
            yaxis=_axis("score", showticklabels=bool(scored)),
            yaxis2={"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False},
        ),
    }


def trade_off(
    records: Sequence[Record], constraints: Sequence[Constraint], direction: str, answers: Sequence[Record] = ()
) -> Figure:
    """Cost against score with the Pareto front of the scores and the budget; a button for each cost.

    Args:
        records: The trials.
        constraints: On the costs.
        direction: Of the score.
        answers: The trials of the searcher's own front, if a cost is its objective.
    """
    scored = [r for r in records if r.value is not None]
    views = [_view(scored, constraint, direction, answers) for constraint in constraints]
    (all_x, front_x, answers_x), (all_y, front_y, answers_y) = views[0][0]["x"], views[0][0]["y"]
    own = {
        **_points(answers_x, answers_y, answers),
        "name": "the searcher's front",
        "marker": {"size": 9, "symbol": "diamond", "color": COLOURS[4]},
    }
    layout = _layout(yaxis=_axis("score"), **views[0][1])
    if len(views) > 1:
        layout |= _with_buttons([c.name for c in constraints], views, layout)
    return {
        "data": [
            {**_points(all_x, all_y, scored), "name": "trial", "marker": _by_round(scored)},
            {
                **_line(front_x, front_y, COLOURS[3]),
                "name": "Pareto front",
                "mode": "lines+markers",
                "line": {"color": COLOURS[3], "width": 1.5, "shape": "hv"},
                "marker": {"size": 11, "symbol": "circle-open"},
            },
            *([own] if answers else []),
        ],
        "layout": layout,
    }


def _view(
    scored: Sequence[Record], constraint: Constraint, direction: str, answers: Sequence[Record]
) -> tuple[Figure, Figure]:
    """What one cost sets of the traces, all trials and the fronts, and of the layout."""
    cost = np.array([r.costs[constraint.name] for r in scored])
    score = np.array([r.value for r in scored], float)
    front = np.flatnonzero(pareto_front(cost, score, direction))
    front = front[np.argsort(cost[front], kind="stable")]
    own = [[r.costs[constraint.name] for r in answers], [r.value for r in answers]]
    traces = {"x": [cost.tolist(), cost[front].tolist(), own[0]], "y": [score.tolist(), score[front].tolist(), own[1]]}
    label = {"text": "budget", "textposition": "start", "textangle": 0, "xanchor": "right", "yanchor": "bottom"}
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": _GREY, "dash": "dot"}, "label": label}
    bounds = [b for b in (constraint.lower, constraint.upper) if 0 < b < np.inf]
    budget = [{**line, "x0": bound, "x1": bound} for bound in bounds]
    return traces, {"xaxis": _axis(text(constraint.name)), "shapes": budget}


def _with_buttons(names: Sequence[str], views: Sequence[tuple[Figure, Figure]], layout: Figure) -> Figure:
    """What of a layout changes for a row of buttons, one a cost, above the plot."""
    place = {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.1, "yanchor": "bottom"}
    looks = {"bgcolor": "#eeeeee", "bordercolor": "#cccccc", "font": {"color": "#333333"}}
    buttons = [
        {"method": "update", "label": text(name), "args": list(view)} for name, view in zip(names, views, strict=True)
    ]
    return {"updatemenus": [{**place, **looks, "buttons": buttons}], "margin": {**layout["margin"], "t": 80}}


def allocation(family: Family, codes: Mapping[str, Code], setting: Setting | None) -> Figure:
    """Bars of the MACs of the stages of networks, and below of the first two fields of their codes.

    Args:
        family: The codes' family.
        codes: The networks by what to call them.
        setting: What they are counted with; the family's own when None.
    """
    fields = family.fields[:2]
    rows = 1 + len(fields)
    data, stages = [], []
    for place, (label, code) in enumerate(codes.items()):
        network = family.stage_rows(code, setting)
        stages = [row.name.removeprefix("stage") for row in network]
        panels = [(stages, [row.cost.macs for row in network])]
        panels += [(labels_of(field), list(code.titled(field.title))) for field in fields]
        for row, (x, y) in enumerate(panels, start=1):
            colour = _GREY if code.values == family.original else COLOURS[place]
            bars = _bars(colour, label, code, x, y)
            data.append({**bars, "xaxis": f"x{row}", "yaxis": f"y{row}", "showlegend": row == 1})
    axes: dict[str, Any] = {}
    by_stage = [all(isinstance(place, int) for place in field.places) for field in fields]
    for row, (title, numbered) in enumerate(
        zip(("MACs", *(field.title for field in fields)), (True, *by_stage), strict=True), start=1
    ):
        labels = stages if numbered else labels_of(fields[row - 2])
        category = {"type": "category", "categoryorder": "array", "categoryarray": labels, "anchor": f"y{row}"}
        axes[f"xaxis{row}"] = _axis("stage" if numbered else "layer", **category)
        axes[f"yaxis{row}"] = _axis(title, domain=[1 - row / rows, 1 - row / rows + 0.68 / rows], anchor=f"x{row}")
    return {"data": data, "layout": _layout(barmode="group", **axes)}


def elements(codes: Mapping[str, Code]) -> Figure:
    """Bars of the elements of codes, by position."""
    data = [
        _bars(COLOURS[place], label, code, list(code.as_dict()), list(code.values))
        for place, (label, code) in enumerate(codes.items())
    ]
    return {"data": data, "layout": _layout(barmode="group", xaxis=_axis("position"), yaxis=_axis("element"))}


def refining(distance: np.ndarray, pairs: Pairs) -> Figure:
    """Discrepancy of scores against a distance of codes, of a few thousand pairs, and their trend."""
    middle, mean, spread = trend(distance, pairs.gap)
    some = slice(None, None, -(-len(distance) // _DRAWN))
    shade = {"size": 3, "color": "rgba(128, 128, 128, 0.4)"}
    return {
        "data": [
            {**_line(distance[some], pairs.gap[some], _GREY), "mode": "markers", "name": "pair", "marker": shade},
            {**_line(middle, mean, COLOURS[0]), "name": "mean"},
            {
                **_line(middle, mean + spread, COLOURS[1]),
                "name": "mean + standard deviation",
                "line": {"color": COLOURS[1], "dash": "dash"},
            },
        ],
        "layout": _layout(
            xaxis=_axis("distance of two codes", rangemode="tozero"),
            yaxis=_axis("discrepancy of scores", range=[0, 1.05 * float(pairs.gap.max()) or 1]),
        ),
    }


def curves(groups: Sequence[Group], by: str) -> Figure:
    """The best score so far of studies; of several of one recipe also their mean and, as an area, their range.

    Args:
        groups: The studies by their recipes.
        by: "scores" or "seconds" of scoring.
    """
    data = []
    for place, group in enumerate(groups):
        several = len(group.sides) > 1
        for side in group.sides:
            best, seconds = side.best_so_far
            x = seconds if by == "seconds" else np.arange(1, len(best) + 1)
            style = {"width": 1 if several else 2, "shape": "hv", **_style(place)}
            data.append(
                {
                    **_line(x, best, ""),
                    "line": style,
                    "opacity": 0.5 if several else 1.0,
                    "name": text(side.name),
                    "legendgroup": str(place),
                    "showlegend": not several,
                    "hovertext": [f"{text(side.name)}<br>best so far {amount(v)}" for v in best],
                    "hoverinfo": "text",
                }
            )
        if several and by == "scores":
            data += _range(place, group)
        elif several:
            data[-1] |= {"name": text(group.name), "showlegend": True}
    titles = {"scores": "scores", "seconds": "seconds of scoring, in all"}
    return {
        "data": data,
        "layout": _layout(xaxis=_axis(titles[by], rangemode="tozero"), yaxis=_axis("best score so far")),
    }


def _range(place: int, group: Group) -> list[Figure]:
    """The lowest, the highest and the mean curve of studies of one recipe, as far as all of them have come."""
    every = [side.best_so_far[0] for side in group.sides]
    least = min(map(len, every))
    best = np.array([values[:least] for values in every])
    colour = _style(place)["color"]
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    shared = {"legendgroup": str(place), "showlegend": False}
    x = np.arange(1, least + 1)
    edge = {"width": 0, "shape": "hv"}
    area = {"fill": "tonexty", "fillcolor": f"rgba({red}, {green}, {blue}, 0.15)"}
    mean = {"width": 3, "shape": "hv", **_style(place)}
    return [
        {**_line(x, best.min(axis=0), colour), **shared, "line": edge},
        {**_line(x, best.max(axis=0), colour), **shared, "line": edge, **area},
        {**_line(x, best.mean(axis=0), colour), **shared, "line": mean, "showlegend": True, "name": text(group.name)},
    ]


def fronts(groups: Sequence[Group], costs: Sequence[str], direction: str) -> Figure:
    """The Pareto front of each study's scores, and the answers; a button for each cost."""
    data: list[Figure] = []
    places = [(place, side) for place, group in enumerate(groups) for side in group.sides]
    views: list[tuple[Figure, Figure]] = []
    for cost in costs:
        parts = [part for _, side in places for part in (_front(side, cost, direction), side.found[:1])]
        x = [[r.costs[cost] for r in part if cost in r.costs] for part in parts]
        y = [[r.value for r in part if cost in r.costs] for part in parts]
        axis: Figure = {"xaxis": _axis(text(cost))}
        views.append(({"x": x, "y": y, "hovertext": [list(map(_hover, part)) for part in parts]}, axis))
    for number, (place, side) in enumerate(places):
        own = {"type": "scatter", "hoverinfo": "text", "legendgroup": str(number)}
        line = {"width": 1.5, "shape": "hv", **_style(place)}
        dot = {"size": 5, "color": line["color"]}
        star = {"size": 14, "symbol": "star", "color": line["color"], "line": {"width": 1, "color": _GREY}}
        data += [
            {**own, "mode": "lines+markers", "name": text(side.name), "line": line, "marker": dot},
            {**own, "mode": "markers", "name": "answer", "marker": star, "showlegend": False},
        ]
    for key, values in views[0][0].items():
        for trace, value in zip(data, values, strict=True):
            trace[key] = value
    layout = _layout(yaxis=_axis("score"), **views[0][1])
    return {"data": data, "layout": layout | (_with_buttons(costs, views, layout) if len(costs) > 1 else {})}


def _front(side: Side, cost: str, direction: str) -> list[Record]:
    """The trials of a study's Pareto front, the cheapest first; none where it does not know the cost."""
    scored = [r for r in side.records if r.value is not None and cost in r.costs]
    if not scored:
        return []
    values = np.array([[r.costs[cost], r.value] for r in scored], float)
    on = np.flatnonzero(pareto_front(values[:, 0], values[:, 1], direction))
    return [scored[i] for i in on[np.argsort(values[on, 0], kind="stable")]]


def _style(place: int) -> dict[str, str]:
    """The colour and the dashes of the line of a study, or of a recipe's studies, by its place."""
    turn, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "dash": _DASHES[turn % len(_DASHES)]}


def _points(x: Sequence[float], y: Sequence[Any], records: Sequence[Record]) -> Figure:
    """Trials as points that say what is known of them."""
    hover = [_hover(r) for r in records]
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "hovertext": hover, "hoverinfo": "text"}


def _hover(r: Record) -> str:
    lines = [str(r.code), f"trial {r.number}, {round_name(r.round)}"]
    if r.value is not None:
        lines.append(f"score {amount(r.value)}")
    if r.state == "failed":
        lines.append(r.errors[-1][:100] if r.errors else "failed")
    lines += [f"{name} {amount(cost)}" for name, cost in r.costs.items()]
    if r.seconds is not None:
        lines.append(f"{r.seconds:,.1f} s")
    return "<br>".join(map(text, lines))


def _by_round(records: Sequence[Record]) -> Figure:
    rounds = [r.round + 1 for r in records] or [1]
    ticks = np.unique(np.linspace(min(rounds), max(rounds), 6).astype(int)).tolist()
    bar = {"title": {"text": "round"}, "thickness": 10, "outlinewidth": 0, "tickmode": "array", "tickvals": ticks}
    scale = {"showscale": len(ticks) > 1, "colorscale": [[0, COLOURS[0]], [0.5, COLOURS[2]], [1, COLOURS[1]]]}
    return {"size": 8, "opacity": 0.8, "color": rounds, "colorbar": bar, **scale}


def _line(x: Any, y: Any, colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": np.asarray(x).tolist(),
        "y": np.asarray(y).tolist(),
        "line": {"color": colour},
        "hoverinfo": "skip",
    }


def _bars(colour: str, label: str, code: Code, x: Sequence[str], y: Sequence[Any]) -> Figure:
    """A code's bars, which an entry of the legend toggles together."""
    hover = [f"{text(code)}<br>{text(n)}: {v and amount(v)}" for n, v in zip(x, y, strict=True)]
    return {
        "type": "bar",
        "name": text(label),
        "legendgroup": label,
        "x": list(map(text, x)),
        "y": y,
        "hovertext": hover,
        "hoverinfo": "text",
        "marker": {"color": colour},
    }


def _axis(title: str, **own: Any) -> dict[str, Any]:
    lines = {"gridcolor": _FAINT, "linecolor": _GREY, "zeroline": False}
    return {"title": {"text": title}, "automargin": True, **lines, **own}


def _layout(**own: Any) -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "margin": {"l": 50, "r": 10, "t": 40, "b": 45},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        "showlegend": True,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        **own,
    }
