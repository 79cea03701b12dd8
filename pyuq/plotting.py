# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures. A function that takes axes draws on them and returns them."""

from pathlib import Path

import numpy as np

BLUE, ORANGE, GREEN, GREY = "#1f6fb2", "#d9722e", "#3a8a4d", "#888888"


def figure(ncols: int = 1, width: float = 4.2, height: float = 3.6, nrows: int = 1):
    """Figure and axes without a display.

    Returns
    -------
    matplotlib.figure.Figure, ndarray of Axes, shape (nrows, ncols)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width * ncols, height * nrows), layout="constrained", dpi=150)
    FigureCanvasAgg(fig)
    return fig, fig.subplots(nrows, ncols, squeeze=False)


def parity(ax, groups: dict[str, np.ndarray], quantity: str, unit: str):
    """Predicted against labelled values.

    Parameters
    ----------
    ax : Axes
    groups : dict
        {name: array of shape (n, 2), label and prediction}.
    quantity, unit : str
        For the axis labels.
    """
    everything = np.concatenate(list(groups.values()))
    low, high = everything.min(), everything.max()
    pad = 0.04 * (high - low) or 1.0
    ax.plot([low - pad, high + pad], [low - pad, high + pad], color=GREY, lw=0.8, zorder=0)
    for name, values in groups.items():
        ax.plot(*values.T, ".", ms=3, alpha=0.6, label=name, rasterized=True)
    ax.set(
        xlabel=f"label: {quantity} ({unit})",
        ylabel=f"prediction: {quantity} ({unit})",
        xlim=(low - pad, high + pad),
        ylim=(low - pad, high + pad),
    )
    ax.set_aspect("equal")
    ax.locator_params(nbins=5)  # long numbers on a narrow panel
    ax.legend(frameon=False, fontsize=7, markerscale=2)
    return ax


def plot_tables(paths, out="plot.png", columns=()) -> Path:
    """Draw the columns of tables against their first one, a panel for each column, a line for each file.

    Parameters
    ----------
    paths : sequence of path
        Files that :func:`pyuq.io.thermo.read_table` reads.
    out : path
        PNG file to write.
    columns : sequence of str, optional
        Which columns; default: all that change.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        A file is missing or holds no table, no table has a column of that name, nothing changes, or `out` does not
        end in ``.png``.
    """
    from pyuq.io.files import atomic_write
    from pyuq.io.thermo import read_table

    if Path(out).suffix != ".png":
        raise ValueError(f"{out}: expected a name that ends in .png, the format that is written")
    tables = {str(path): read_table(path) for path in paths}
    known = list(dict.fromkeys(name for table in tables.values() for name in list(table)[1:]))
    if missing := [name for name in columns if name not in known]:
        raise ValueError(
            f"no column {', '.join(missing)}; expected one or more of {', '.join(known)}"
        )
    wanted = list(columns) or [n for n in known if any(_changes(t, n) for t in tables.values())]
    if not wanted:
        raise ValueError(f"no column changes in {', '.join(tables)}: nothing to draw")
    ncols = min(3, len(wanted))
    fig, axes = figure(ncols=ncols, nrows=-(-len(wanted) // ncols), height=2.6)
    for ax, name in zip(axes.flat, wanted, strict=False):
        for path, table in tables.items():
            if name in table:
                first = next(iter(table))
                ax.plot(table[first], table[name], lw=0.9, label=path)
                ax.set(xlabel=first, ylabel=name)
    for ax in axes.flat[len(wanted) :]:
        ax.remove()
    if len(tables) > 1:
        axes[0, 0].legend(frameon=False, fontsize=7)
    with atomic_write(out, "wb") as file:
        fig.savefig(file, format="png")
    return Path(out)


def _changes(table: dict[str, np.ndarray], name: str) -> bool:
    values = table.get(name, np.zeros(0))
    values = values[np.isfinite(values)]
    return len(values) > 1 and np.ptp(values) > 0.0
