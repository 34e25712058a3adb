"""Load, backlog and workers over time, as SVG or PNG."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from richmond.sim.measure import OPTIMUM, OURS
from richmond.sim.study import Study

SHOWN = (OURS, "celery", "keda + hpa", "uwsgi busyness", "uwsgi backlog", OPTIMUM)


def draw(study: Study, path: Path) -> None:
    """The suffix of `path` says which kind."""
    # The same study gives the same file.
    mpl.rcParams.update({"svg.hashsalt": "richmond", "svg.fonttype": "none", "path.simplify_threshold": 0.5})
    figure = Figure(figsize=(9, 7), layout="constrained")
    load, backlog, workers = figure.subplots(3, 1, sharex=True)
    unit, seconds = ("hours", 3600) if study.trace.seconds > 2 * 3600 else ("seconds", 1)
    looks = study.runs[OURS].looks
    rate = [(b.arrived - a.arrived) / (b.at - a.at) for a, b in pairwise(looks)]
    load.fill_between([look.at / seconds for look in looks[1:]], rate, color="0.8", linewidth=0)
    for name in SHOWN:
        style: dict[str, Any] = {"linewidth": 1.8, "zorder": 3} if name == OURS else {"linewidth": 0.8, "alpha": 0.8}
        if name == OPTIMUM:
            style["linestyle"] = ":"
        at = [look.at / seconds for look in study.runs[name].looks]
        backlog.plot(at, [look.waiting for look in study.runs[name].looks], label=name, **style)
        workers.step(at, [look.workers for look in study.runs[name].looks], label=name, where="post", **style)
    for axes, label in ((load, "messages/s"), (backlog, "waiting"), (workers, "workers")):
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    backlog.set_yscale("symlog", linthresh=10)
    load.set_title(f"{study.trace.name}: {study.trace.about}", fontsize=10)
    workers.set_xlabel(unit)
    workers.legend(loc="upper right", fontsize=7, ncols=3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=100)
