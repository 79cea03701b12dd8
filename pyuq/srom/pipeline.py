# SPDX-License-Identifier: GPL-2.0-or-later
"""The stages of ``pyuq srom``, in order."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from pyuq import log
from pyuq.errors import InputError
from pyuq.io.files import Lock, check_folder, clear_temporaries
from pyuq.srom.build import build, make_ensemble, read_ensemble
from pyuq.srom.propagate import propagate
from pyuq.srom.report import write_report
from pyuq.srom.settings import Study, load_study
from pyuq.srom.trajectories import make_snapshots
from pyuq.trust import code_in_commands, require_trust

STAGES = ("snapshots", "build", "sample", "propagate", "report")


def run_stages(
    path,
    action: str,
    comm=None,
    write: int | None = None,
    assignments: Iterable[str] = (),
    trust: bool = False,
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
    trust : bool
        Run the code that commands of models name: see :mod:`pyuq.trust`.

    Raises
    ------
    RuntimeError
        Another process works in the folder of the study or, where snapshots are made, in that of its trajectories; or a
        simulation did not run.
    InputError
        A mistake in the settings, or files that other settings made.
    """
    study = load_study(path, assignments)
    commands = [command for model in study.settings.models for command in model.commands]
    require_trust(str(path), code_in_commands(commands, None, study.here), trust)
    root = comm is None or comm.rank == 0
    with ExitStack() as held:
        if root:
            for folder in dict.fromkeys(written(study, action)):
                check_folder(folder).mkdir(parents=True, exist_ok=True)
                held.enter_context(Lock(folder))
                clear_temporaries(folder)
        if comm is not None:
            comm.Barrier()
        _run(study, action, comm, write)


def written(study: Study, action: str) -> list[Path]:
    """Folders that a command writes into."""
    shared = study.here / (study.settings.trajectories or study.settings.folder)
    folders = [study.folder, shared] if action in ("snapshots", "all") else [study.folder]
    return [folder.resolve() for folder in folders]


def _run(study: Study, action: str, comm, write: int | None) -> None:
    root = comm is None or comm.rank == 0
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
    """Write the basis of one sample beside the ensemble, at every temperature.

    Raises
    ------
    InputError
        There is no sample of this number.
    """
    for case in study.cases:
        path = case.ensemble.with_name(f"{study.settings.name}-{k}.rom")
        ensemble = read_ensemble(case)
        if not 0 <= k < len(ensemble):
            raise InputError(f"sample {k} of {case.ensemble}; expected 0 to {len(ensemble) - 1}")
        ensemble.sample(k).write(path)
        say(str(path))


def say(text: str) -> None:
    """Print a line of progress, at once even into a pipe."""
    log.say(text)
