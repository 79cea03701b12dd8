# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq posterior``: error bars for a potential that exists, from files of structures, and what they are worth."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyuq import log
from pyuq.inference.maxvol import describe, flat_inverses, select_active_sets
from pyuq.inference.pops import ERROR_BARS
from pyuq.inference.posterior import refuse_other_owner
from pyuq.inference.readout_posterior import (
    NOISE_UNITS,
    PosteriorSettings,
    ReadoutPosterior,
    native_evaluator,
    other_zero,
    readout_posterior,
    require_native,
    species_names,
)
from pyuq.inference.readout_sums import Partial
from pyuq.inference.regression import few_data_note
from pyuq.io.files import beside, require_folder
from pyuq.io.identity import hash_bytes, hash_file
from pyuq.io.structures import StructureFiles


def run_posterior(
    path,
    data: Sequence,
    elements: Sequence[str] = (),
    out=None,
    comm=None,
    active_set: bool = False,
    **settings,
) -> ReadoutPosterior:
    """Find the posterior of a model's readout from files of structures, write it, and print what it is worth.

    Parameters
    ----------
    path : str or Path
        Native model file.
    data : sequence of str or Path
        Files of labelled structures: extended XYZ, ``.cfg``, JSON.
    elements : sequence of str
        Names of the species of a file that stores none. Where the data number their species too they may stay
        unnamed; ``pair_coeff`` then names them.
    out : str or Path, optional
        Default: beside the model, or here where that folder is read-only; of a refit ``NAME-refit.uq``, since
        ``NAME.uq`` speaks for the native file.
    active_set : bool
        Also choose the active set of the extrapolation grade, from all structures.
    settings
        Of :class:`PosteriorSettings`.

    Raises
    ------
    InputError, RuntimeError
        A file is missing or wrong; the message names it.
    """
    path = Path(path)
    choice = PosteriorSettings(**settings)
    require_native(path)
    written = Path(out or _default_output(path, choice.mean))
    require_folder(written, [path, *data])
    refuse_other_owner(written, path)
    names, meant = (tuple(elements), True) if elements else species_names(path, data)
    structures = StructureFiles(data, names)
    partial = _partial(written, path, structures, choice, comm)
    result = readout_posterior(path, structures, choice, names, comm, partial)
    sets = []
    if active_set:
        sets = select_active_sets(native_evaluator(path, names), structures, comm=comm)
        result = replace(result, active_inverse=flat_inverses(sets))
    if not meant:
        numbers = {f"force {e}": f"force {k + 1}" for k, e in enumerate(names)}
        left = result.leave_one_out.renamed(numbers)
        result = replace(result, elements=(), leave_one_out=left)
    if comm is None or comm.rank == 0:
        result.write(written)
        species = " ".join(result.elements) or "numbered species"
        log.say(
            f"{path.name}: {result.family} of {species}, {len(result.mean)} readout weights, "
            f"{len(structures)} structures, mean: {choice.mean}"
        )
        log.say(
            "noise, misfit included: "
            + ", ".join(f"{k} {v:.3g} {NOISE_UNITS[k]}" for k, v in result.noise.items())
        )
        log.say(result.conditioning.text(len(result.mean)))
        log.say(ERROR_BARS[choice.uncertainty])
        few = few_data_note(len(structures), result.rows, result.conditioning.effective)
        told_of = (few, result.copies, other_zero(result.calibration), result.interpolated)
        for told in filter(None, told_of):
            log.say(told)
        if sets:
            log.say(describe(sets, result.elements or [str(z) for z in range(len(sets))]))
        if result.calibration:
            log.say(f"\nheld-out structures ({choice.holdout:.0%}):\n\n{result.table()}\n")
        log.say(f"{result.leave_one_out.text()}\n")
        if choice.mean == "model":
            log.say(
                "The file's weights are kept: of structures that it was trained on, these errors are too small.\n"
            )
        log.say(f"written: {written}")
    partial.remove()
    return result


def _default_output(path: Path, mean: str) -> Path:
    return beside(path, f"{path.stem}.uq" if mean == "model" else f"{path.stem}-refit.uq")


def _partial(
    written: Path, path: Path, structures: StructureFiles, settings: PosteriorSettings, comm
) -> Partial:
    """Where this rank keeps unfinished sums of exactly this task."""
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    files = [path, *structures.paths]
    depends = [hash_file(f) for f in files] + [str(size), repr(settings), *structures.elements]
    where = written.with_name(f".{written.name}.{rank}of{size}.partial")
    return Partial(where, hash_bytes("\n".join(depends).encode()))
