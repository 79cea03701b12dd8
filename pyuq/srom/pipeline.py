# SPDX-License-Identifier: GPL-2.0-or-later
"""The stages of ``pyuq srom``, in order."""

from collections.abc import Iterable

from pyuq import log
from pyuq.io.files import check_folder
from pyuq.srom.build import build, make_ensemble, read_ensemble
from pyuq.srom.propagate import propagate
from pyuq.srom.report import write_report
from pyuq.srom.settings import Study, load_study
from pyuq.srom.trajectories import make_snapshots

STAGES = ("snapshots", "build", "sample", "propagate", "report")


def run_stages(
    path, action: str, comm=None, write: int | None = None, assignments: Iterable[str] = ()
) -> None:
    """Run one stage, or ``all`` of them; each keeps what is already there.

    Parameters
    ----------
    path : str or Path
        ``srom.toml``.
    action : str
        One of STAGES, or ``all``.
    comm : mpi4py.MPI.Comm, optional
        Of an ``mpirun``: simulations share its ranks, bases are built on all of them.
    write : int, optional
        With ``sample``: also write the basis of this sample.
    assignments : iterable of str
        Settings to change: ``basis.modes=40``.
    """
    study = load_study(path, assignments)
    root = comm is None or comm.rank == 0
    if root:
        check_folder(study.folder)
    for stage in STAGES if action == "all" else (action,):
        if stage == "snapshots":
            make_snapshots(study, comm, say)
        elif stage == "build":
            build(study, comm, say)
        elif stage == "propagate":
            propagate(study, comm, say)
        elif root and stage == "sample":
            make_ensemble(study, say)
            if write is not None:
                write_sample(study, write)
        elif root and stage == "report":
            say(str(write_report(study)))
        if comm is not None:
            comm.Barrier()


def write_sample(study: Study, k: int) -> None:
    """Write the basis of one sample beside the ensemble, at every temperature."""
    for case in study.cases:
        path = case.ensemble.with_name(f"{study.settings.name}-{k}.rom")
        ensemble = read_ensemble(case)
        if not 0 <= k < len(ensemble):
            raise ValueError(f"sample {k} of {case.ensemble}; expected 0 to {len(ensemble) - 1}")
        ensemble.sample(k).write(path)
        say(str(path))


def say(text: str) -> None:
    """Print a line of progress, at once even into a pipe."""
    log.say(text)
