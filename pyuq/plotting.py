# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures. Every function takes the axes to draw on and returns them."""

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
    ax.legend(frameon=False, fontsize=7, markerscale=2)
    return ax
