# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures. A function that takes axes draws on them and returns them."""

from pathlib import Path

import numpy as np

from pyuq.errors import InputError

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
    """Draw the columns of tables against the step, a panel for each column, a line for each file.

    Tables without a column of steps are drawn against their time, or else their first column. Quantity and unit are
    named where the log says what a column is. IDs of atoms are names and no amounts: they are left out unless asked
    for, and then drawn as points. Of values of each atom, the largest, the median, and the band that holds 90 % of the
    atoms are drawn.

    Parameters
    ----------
    paths : sequence of path
        Files that :func:`pyuq.io.thermo.read_table` reads.
    out : path
        PNG file to write.
    columns : sequence of str, optional
        Which columns; default: all that change, without IDs of atoms.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        A file is missing or holds no table, no table has a column of that name, nothing changes, or `out` does not
        end in ``.png``.
    """
    from pyuq.io.files import atomic_write, require_folder
    from pyuq.io.thermo import ID, read_labels, read_table

    if Path(out).suffix != ".png":
        raise InputError(f"{out}: expected a name that ends in .png, the format that is written")
    require_folder(out, paths)
    tables = {str(path): read_table(path) for path in paths}
    labels = {path: read_labels(path) for path in tables}
    first = {path: abscissa(table) for path, table in tables.items()}
    known = [n for path, table in tables.items() for n in table if n != first[path]]
    known = list(dict.fromkeys(known))
    if missing := [name for name in columns if name not in known]:
        raise InputError(
            f"no column {', '.join(missing)}; expected one or more of {', '.join(known)}"
        )
    ids = {name for found in labels.values() for name, (what, _) in found.items() if what == ID}
    changing = [n for n in known if any(_changes(t, n) for t in tables.values())]
    wanted = list(columns) or [name for name in changing if name not in ids]
    if not wanted:
        raise InputError(f"no column changes in {', '.join(tables)}: nothing to draw")
    ncols = min(3, len(wanted))
    fig, axes = figure(ncols=ncols, nrows=-(-len(wanted) // ncols), height=2.6)
    for ax, name in zip(axes.flat, wanted, strict=False):
        holders = [path for path, table in tables.items() if name in table]
        for path in holders:
            x, y = _unfolded(tables[path][first[path]], tables[path][name])
            draw_column(ax, x, y, path, points=name in ids or _whole(y))
        ax.set(
            xlabel=_axis_label(labels, {path: first[path] for path in holders}),
            ylabel=_axis_label(labels, dict.fromkeys(holders, name)),
        )
        if any(tables[path][name].ndim > 1 for path in holders):
            ax.legend(frameon=False, fontsize=7)
    for ax in axes.flat[len(wanted) :]:
        ax.remove()
    if len(tables) > 1:
        axes[0, 0].legend(frameon=False, fontsize=7)
    with atomic_write(out, "wb") as file:
        fig.savefig(file, format="png")
    return Path(out)


def draw_column(ax, x, y, label: str, points: bool = False):
    """Draw one column of a table.

    Parameters
    ----------
    ax : Axes
    x : ndarray, shape (n,)
    y : ndarray, shape (n,) or (n, N)
        Of N atoms: the largest, the median, and the band from the 5th to the 95th percentile.
    label : str
        For the legend.
    points : bool
        Do not join them: the values are names or whole numbers.
    """
    if y.ndim == 1:
        ax.plot(x, y, "." if points else "-", ms=3, lw=0.9, label=label)
        return ax
    low, middle, high = np.percentile(y, [5, 50, 95], axis=1)
    (line,) = ax.plot(x, y.max(axis=1), lw=0.9, label=f"largest of {y.shape[1]} atoms")
    ax.plot(x, middle, lw=0.9, ls="--", color=line.get_color(), label="median")
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.25, lw=0, label="90 % of atoms")
    return ax


def abscissa(table: dict[str, np.ndarray]) -> str:
    """Name of the column that the others are drawn against: the step, else the time, else the first."""
    from pyuq.io.thermo import STEPS, TIMES

    return next((name for name in (*STEPS, *TIMES) if name in table), next(iter(table)))


def _axis_label(labels: dict[str, dict[str, tuple[str, str]]], names: dict[str, str]) -> str:
    """Name of a column, what it is and its unit; all of these where the files differ."""
    found = []
    for path, name in names.items():
        quantity, unit = labels[path].get(name, ("", ""))
        # A name that the user chose (thermo_modify colname) says enough; c_u[1] does not.
        text = f"{name}\n{quantity}" if quantity and name.startswith(("c_", "f_")) else name
        found.append(f"{text} ({unit})" if unit else text)
    return " / ".join(dict.fromkeys(found))


def _unfolded(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Break a line where a table begins again (another run in the same file, the next block of a vector)."""
    back = np.flatnonzero(np.diff(x) < 0) + 1
    return np.insert(x, back, np.nan), np.insert(y, back, np.nan, axis=0)


def _whole(values: np.ndarray) -> bool:
    """Whether all values are whole numbers: counts, or names."""
    values = values[np.isfinite(values)]
    return bool(np.all(values == np.round(values)))


def _changes(table: dict[str, np.ndarray], name: str) -> bool:
    values = table.get(name, np.zeros(0))
    values = values[np.isfinite(values)]
    return len(values) > 1 and np.ptp(values) > 0.0
