# SPDX-License-Identifier: GPL-2.0-or-later
"""From trajectories to a folder with numbers, a report and pictures."""

import fcntl
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyuq
from pyuq import log
from pyuq.diffusion import report
from pyuq.diffusion.summary import Summary, summarise
from pyuq.diffusion.trajectory import TrajectoryAnalysis
from pyuq.errors import InputError, RunError
from pyuq.io.files import check_distinct, check_folder, write_json, write_text

RESULTS = ("diffusion.json", "diffusion.png", "arrhenius.png", "report.md")


def run_diffusion(
    trajectories: Sequence,
    timestep: float | None = None,
    out="pyuq-diffusion",
    temperatures: Sequence[float] | None = None,
    predict: Sequence[float] = (),
    **options,
) -> Summary:
    """Analyse trajectories; write ``diffusion.json``, ``report.md`` and pictures, print the verdicts.

    Parameters
    ----------
    trajectories : sequence of str or Path
    timestep : float, optional
        As in :class:`TrajectoryAnalysis`.
    out : str or Path
        Folder.
    temperatures : sequence of float, optional
        K, one for all or one for each trajectory; those of the same temperature are replicas.
    predict : sequence of float
        Temperatures to extrapolate to, K.
    **options
        Further parameters of :class:`TrajectoryAnalysis`.

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        As :meth:`TrajectoryAnalysis.compute` and :func:`summarise`; all that can be seen without reading is
        refused before.
    """
    check_distinct(path for path in trajectories if isinstance(path, str | Path))
    if temperatures is not None:
        if len(temperatures) == 1:
            temperatures = list(temperatures) * len(trajectories)
        if len(temperatures) != len(trajectories) or not _positive(temperatures):
            raise InputError(
                f"temperatures {list(temperatures)} for {len(trajectories)} trajectories: expected one positive number "
                "for all, or one for each"
            )
    if not _positive(predict):
        raise InputError(f"predict {list(predict)}: expected positive temperatures, K")
    charges = options.get("charges")
    if charges is not None and temperatures is None:
        raise InputError("charges ask for a conductivity, which needs the temperature in K too")
    if predict and len(set(temperatures or ())) < 2:
        raise InputError("an extrapolation needs trajectories of at least two temperatures")
    analysis = TrajectoryAnalysis(timestep, **options)
    folder = check_folder(out)
    runs = [analysis.compute(path) for path in trajectories]
    summary = summarise(runs, temperatures, charges)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        write_json(folder / "diffusion.json", {"pyuq": pyuq.__version__} | summary.to_dict())
        report.plot_diffusion(folder / "diffusion.png", summary)
        if summary.arrhenius:
            report.plot_arrhenius(folder / "arrhenius.png", summary, predict)
        write_text(folder / "report.md", report.report(summary, analysis, predict))
    log.say("\n".join(report.verdicts(summary)))
    log.say(f"report: {folder / 'report.md'}")
    return summary


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into the folder, and remove what a killed one left half-written.

    Raises
    ------
    RuntimeError
        Another process writes there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process writes its results into {folder}: wait for it, or name another folder (--out)"
            ) from None
        except OSError:
            pass  # a file system without locks
        else:
            for name in RESULTS:
                for left in folder.glob(f".{name}.*.tmp"):
                    left.unlink()
        yield
    finally:
        os.close(descriptor)


def _positive(values: Sequence[float]) -> bool:
    """Whether all are finite numbers above 0."""
    return all(0 < value < math.inf for value in values)


def parse_ids(text: str) -> tuple[str, list[int]]:
    """Name and ids of ``NAME=1-32,40``.

    Raises
    ------
    InputError
        Another form.
    """
    name, found, ranges = text.partition("=")
    ids: list[int] = []
    try:
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            ids += range(int(first), int(last or first) + 1)
    except ValueError:
        found = ""
    if not (name and found and ids):
        raise InputError(f"group {text!r}: expected a name and atom ids such as grain=1-32,40")
    return name, ids
