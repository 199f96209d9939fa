"""One picture per world: bus bandwidth over size, a panel for each collective."""

import os

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as pyplot  # noqa: E402

from . import report  # noqa: E402
from .cases import human  # noqa: E402

COLOURS = {"kirsh-uring": "tab:red", "kirsh-poll": "tab:orange", "kirsh-unix": "tab:pink",
           "gloo": "tab:blue",
           "openmpi": "tab:green", "mpich": "tab:purple", "limit": "black"}


def draw(record, folder):
    """Writes the pictures and gives their names."""
    return [_world(world, folder) for world in record["worlds"]
            if any(case["times_s"] for case in world["cases"])]


def _world(record, folder):
    world = report.world_of(record)
    collectives = list(dict.fromkeys(case["collective"] for case in record["cases"]))
    figure, panels = pyplot.subplots(1, len(collectives), figsize=(4.2 * len(collectives), 4.2),
                                     squeeze=False, layout="constrained")
    for panel, collective in zip(panels[0], collectives):
        own = [case for case in record["cases"] if case["collective"] == collective]
        for name in record["contestants"]:
            points = [(case["bytes"], case["times_s"][name]) for case in own if case["times_s"].get(name)]
            if points:
                _line(panel, world, collective, name, points)
        if world.line_bytes_per_s:
            panel.axhline(world.line_bytes_per_s / 1e9, color="grey", linewidth=0.8, linestyle=":")
        panel.set(title=collective, xscale="log", yscale="log", xlabel="bytes")
        ticks = [case["bytes"] for case in own][::max(1, len(own) // 5)]
        panel.set_xticks(ticks, [human(tick) for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("bus bandwidth, GB/s")
    panels[0][0].legend(fontsize=8)
    figure.suptitle(f"{world.name}: {world.ranks} ranks" + (f", {world.note}" if world.note else ""))
    name = f"{world.name}.png"
    figure.savefig(os.path.join(folder, name), dpi=90)
    pyplot.close(figure)
    return name


def _line(panel, world, collective, name, points):
    def bandwidth(size, seconds):
        return report.bus_gb_per_s(world, {"collective": collective, "bytes": size}, seconds)

    spread = [(size, *report.quartiles(times)) for size, times in points]
    xs = [size for size, *_ in spread]
    style = {"color": COLOURS.get(name), "linestyle": "--" if name == "limit" else "-"}
    panel.plot(xs, [bandwidth(size, middle) for size, _, middle, _ in spread], marker=".", label=name, **style)
    panel.fill_between(xs, [bandwidth(size, high) for size, *_, high in spread],
                       [bandwidth(size, low) for size, low, *_ in spread],
                       color=style["color"], alpha=0.15, linewidth=0)
