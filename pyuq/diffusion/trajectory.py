# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that one trajectory tells about diffusion, read in one pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyuq.brief import brief
from pyuq.diffusion.clock import PICOSECONDS, Clock
from pyuq.diffusion.conductivity import charge_displacement, collective_diffusivity
from pyuq.diffusion.green_kubo import GreenKubo, VelocityCorrelation
from pyuq.diffusion.pooling import Pooled, block_average
from pyuq.diffusion.reference import Reference, Survey
from pyuq.diffusion.regression import log_lags
from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion, require_times
from pyuq.diffusion.streaming import StreamingMSD
from pyuq.errors import InputError
from pyuq.io.trajectory import Trajectory, iterate_trajectory

SAME_CELL = 1e-9  # relative change of a cell vector that counts as none


@brief()
@dataclass(frozen=True)
class TrajectoryResult:
    """What a trajectory tells.

    Attributes
    ----------
    name : str
        File.
    n_frames : int
    spacing : float
        Time between frames, ps.
    volume : float
        Mean, Å³.
    fixed_cell : bool
    reference : str
        What positions are relative to, in words.
    counts : dict
        Atoms of each group analysed.
    diffusivities : dict
        Self-diffusivity of each group.
    collective : dict
        Jump diffusivity D_J of each group; empty unless asked for.
    charge : Diffusivity, or None
        Of the charge displacement, e² Å²/ps in place of Å²/ps.
    net_charge : float
        e.
    green_kubo : dict
        Of each group; empty unless asked for.
    blocks : dict
        Self-diffusivity of consecutive parts, for each group; empty unless asked for.
    remarks : tuple of str
        What was mended in the trajectory, guessed or decided from its data, in words.
    reference_error : float
        What the motion of the frame of reference itself adds to the standard errors, Å²/ps.
    """

    name: str
    n_frames: int
    spacing: float
    volume: float
    fixed_cell: bool
    reference: str
    counts: dict[str, int]
    diffusivities: dict[str, Diffusivity]
    collective: dict[str, Diffusivity]
    charge: Diffusivity | None
    net_charge: float
    green_kubo: dict[str, VelocityCorrelation]
    blocks: dict[str, Pooled]
    remarks: tuple[str, ...] = ()
    reference_error: float = 0.0

    def to_dict(self) -> dict:
        """Plain numbers, lists and words, for JSON."""
        return {
            "name": self.name,
            "n_frames": self.n_frames,
            "spacing": self.spacing,
            "volume": self.volume,
            "fixed_cell": self.fixed_cell,
            "reference": self.reference,
            "counts": self.counts,
            "diffusivities": {s: d.to_dict() for s, d in self.diffusivities.items()},
            "collective": {s: d.to_dict() for s, d in self.collective.items()},
            "charge": None if self.charge is None else self.charge.to_dict(),
            "net_charge": self.net_charge,
            "green_kubo": {s: g.to_dict() for s, g in self.green_kubo.items()},
            "blocks": {s: b.to_dict() for s, b in self.blocks.items()},
            "remarks": list(self.remarks),
            "reference_error": self.reference_error,
        }


@brief()
@dataclass(frozen=True)
class TrajectoryAnalysis:
    """Self-diffusion, and on request collective motion and Green–Kubo, from a file.

    Parameters
    ----------
    timestep : float, optional
        Time of one step of the file, in the unit of `units`; for formats that number their frames (extended XYZ,
        MDAnalysis) the time between frames. A dump with times (``dump_modify time yes``) needs none, and must agree.
    units : {"metal", "real"}
        LAMMPS's: ps and Å/ps, or fs and Å/fs.
    elements : sequence of str, optional
        Names of the atom types 1, 2, ... of a dump.
    species : sequence of str, optional
        Species to analyse; default: all, unless there are `groups`.
    groups : mapping from name to ids, optional
        Further groups of atoms.
    framework : sequence of str, optional
        Species whose centre is the frame of reference; ``("all",)`` the centre of mass of all atoms, ``("none",)``
        the frame of the file. Default: those of the species that are not analysed whose atoms stay in their places;
        without any the frame of the file, or the centre of mass of all atoms if it drifts.
    charges : mapping from species to float, optional
        e; asks for the charge displacement. Species without one carry none.
    collective : bool
        Ask for the jump diffusivity of each group.
    green_kubo : bool
        Ask for the integral of the velocity autocorrelation.
    blocks : int
        Consecutive parts that are also analysed on their own, which shows a drift; 0 for none.
    first, last : float, optional
        Of :class:`SelfDiffusion`, ps; ``last`` also of :class:`GreenKubo`.
    tensor : bool
        All components of D.
    skip, stride, partial
        Of :func:`pyuq.io.trajectory.iterate_trajectory`.
    stream : bool
        Do not keep the trajectory in memory (:class:`StreamingMSD`); excludes `tensor`, `green_kubo` and
        `blocks`.
    """

    timestep: float | None = None
    units: str = "metal"
    elements: Sequence[str] | None = None
    species: Sequence[str] = ()
    groups: Mapping[str, Iterable[int]] = field(default_factory=dict)
    framework: Sequence[str] = ()
    charges: Mapping[str, float] | None = None
    collective: bool = False
    green_kubo: bool = False
    blocks: int = 0
    first: float | None = None
    last: float | None = None
    tensor: bool = False
    skip: int = 0
    stride: int = 1
    partial: bool = False
    stream: bool = False

    def compute(self, path) -> TrajectoryResult:
        """Read and analyse a trajectory.

        Parameters
        ----------
        path : str, Path or MDAnalysis.Universe

        Raises
        ------
        InputError
            Parameters that do not go together, a dump that names other units, what :func:`iterate_trajectory`
            refuses, a time step that contradicts the times or the velocities of the file, a group that has no
            atoms, a species without charge, no velocities, too few frames. The message names the file.
        """
        self._check()
        try:
            return self._compute(path)
        except InputError as error:
            if str(path) in str(error):
                raise
            raise InputError(f"{path}: {error}") from None

    def _check(self) -> None:
        if self.units not in PICOSECONDS:
            raise InputError(f"units {self.units}: expected one of {', '.join(PICOSECONDS)}")
        require_times(self, "timestep", "first", "last")
        if bad := [s for s, q in (self.charges or {}).items() if not np.isfinite(q)]:
            raise InputError(f"charge {self.charges[bad[0]]} of {bad[0]}: expected a number, e")
        if self.skip < 0 or self.stride < 1:
            raise InputError(
                f"skip {self.skip} and stride {self.stride}: expected skip ≥ 0 and stride ≥ 1"
            )
        if self.stream and (self.tensor or self.green_kubo or self.blocks):
            raise InputError(
                "stream does not go with tensor, green_kubo or blocks, which need the whole trajectory: leave one out"
            )
        if self.blocks == 1 or self.blocks < 0:
            raise InputError(f"blocks {self.blocks}: expected at least 2, or 0 for none")

    def _compute(self, path) -> TrajectoryResult:
        clock, survey, record, reference = self._clock(), None, None, None
        if self.stream and not self.framework:
            # The frame of reference must be known before displacements are averaged.
            for piece in self._pieces(path, clock):
                survey = survey or Survey((), piece, _groups(self, piece))
                survey.update(piece)
            reference, clock = survey.choose(clock.spacing), self._clock()
        seen, path_of = 0, None if reference is None else survey.path(reference)
        for piece in self._pieces(path, clock):
            if record is None:
                record = _Record(self, piece)
                survey = survey or Survey(self.framework, piece, record.groups)
            if reference is None:
                survey.update(piece)
            moving = piece
            if self.stream:
                known = path_of is not None
                centre = path_of[seen:][: len(piece.steps)] if known else survey.latest()
                moving = replace(piece, positions=piece.positions - centre[:, None])
            record.update(moving)
            seen += len(piece.steps)
        self._require_lags(seen, clock.spacing)
        reference = reference or survey.choose(clock.spacing)
        return record.result(str(path), clock, survey, reference)

    def _clock(self) -> Clock:
        return Clock(self.timestep, self.units)

    def _pieces(self, path, clock: Clock) -> Iterator[Trajectory]:
        """Pieces of the trajectory, evenly spaced in time, with a bar of progress."""
        pieces = iterate_trajectory(
            path,
            elements=self.elements,
            skip=self.skip,
            stride=self.stride,
            partial=self.partial,
        )
        with tqdm(desc=Path(str(path)).name, unit=" frames", disable=None) as bar:
            for piece in clock.watch(pieces):
                if piece.units not in (None, self.units):
                    raise InputError(
                        f"the dump is in units {piece.units}, the analysis in units {self.units}: expected the same"
                    )
                yield piece
                bar.update(len(piece.steps))

    def _require_lags(self, n_frames: int, spacing: float) -> None:
        log_lags(n_frames, last=None if self.last is None else round(self.last / spacing))


class _Record:
    """What is kept of the frames; positions as in the file, but for a stream relative to the frame of reference."""

    def __init__(self, analysis: TrajectoryAnalysis, piece: Trajectory):
        self.analysis = analysis
        self.groups = _groups(analysis, piece)
        self.charges = _charges(analysis.charges, piece, self.groups)
        if analysis.green_kubo and piece.velocities is None:
            raise InputError(
                "no velocities, which Green–Kubo needs: write vx vy vz every few steps, so that vibrations are resolved"
            )
        keep = StreamingMSD if analysis.stream else _Frames
        self.positions = {name: keep() for name in self.groups}
        self.velocities = {name: _Frames() for name in self.groups if analysis.green_kubo}
        self.sums = {name: _Frames() for name in self.groups if analysis.collective}
        self.charge = _Frames()
        self.count = 0
        self.volume = 0.0
        self.cell, self.fixed_cell = piece.cells[0], True
        self.remarks: tuple[str, ...] = ()

    def update(self, piece: Trajectory) -> None:
        self.count += len(piece.steps)
        self.volume += piece.volume * len(piece.steps)
        pbc = np.asarray(piece.pbc)
        self.fixed_cell &= np.allclose(piece.cells[:, pbc], self.cell[pbc], rtol=SAME_CELL)
        self.remarks = piece.remarks
        positions = piece.positions
        for name, record in self.positions.items():
            record.update(positions[:, self.groups[name]])
        for name, record in self.sums.items():
            record.update(positions[:, self.groups[name]].sum(axis=1, keepdims=True))
        if self.charges is not None:
            self.charge.update(charge_displacement(positions, self.charges)[:, None])
        for name, record in self.velocities.items():
            record.update(piece.velocities[:, self.groups[name]])

    def result(
        self, name: str, clock: Clock, survey: Survey, reference: Reference
    ) -> TrajectoryResult:
        analysis, spacing = self.analysis, clock.spacing
        unit = PICOSECONDS[analysis.units]
        line = SelfDiffusion(spacing, first=analysis.first, last=analysis.last)
        tensor = SelfDiffusion(
            spacing, first=analysis.first, last=analysis.last, tensor=analysis.tensor
        )
        counts = {s: int(chosen.sum()) for s, chosen in self.groups.items()}
        net_charge = 0.0 if self.charges is None else float(self.charges.sum())
        if not analysis.stream:
            self._subtract(survey, reference, counts, net_charge)
        error = reference.error
        single = {s: _diffusivity(p, tensor).widened(error) for s, p in self.positions.items()}
        collective = {
            s: collective_diffusivity(
                p.joined()[:, 0] / np.sqrt(counts[s]), line, [single[s]]
            ).widened(counts[s] * error)
            for s, p in self.sums.items()
            if not reference.fixes(self.groups[s])
        }
        charge = None
        if self.charges is not None:
            charged = [d for s, d in single.items() if analysis.charges.get(s)]
            charge = collective_diffusivity(self.charge.joined()[:, 0], line, charged)
            charge = charge.widened(net_charge**2 * error)
        return TrajectoryResult(
            name=name,
            n_frames=self.count,
            spacing=spacing,
            volume=self.volume / self.count,
            fixed_cell=self.fixed_cell,
            reference=reference.words,
            counts=counts,
            diffusivities=single,
            collective=collective,
            charge=charge,
            net_charge=net_charge,
            green_kubo={
                s: GreenKubo(spacing, analysis.last).compute(v.joined() / unit).widened(error)
                for s, v in self.velocities.items()
            },
            blocks={
                s: block_average(p.joined(), line, analysis.blocks)
                for s, p in self.positions.items()
                if analysis.blocks
            },
            remarks=(*self.remarks, *clock.remarks, *reference.remarks),
            reference_error=error,
        )

    def _subtract(
        self, survey: Survey, reference: Reference, counts: Mapping[str, int], net_charge: float
    ) -> None:
        """Make positions and velocities relative to the frame of reference."""
        if reference.atoms is None:
            return
        centre = survey.path(reference)[:, None]
        for record in self.positions.values():
            record.subtract(centre)
        for name, record in self.sums.items():
            record.subtract(counts[name] * centre)
        if self.charges is not None:
            self.charge.subtract(net_charge * centre)
        if self.velocities:
            centre = survey.path(reference, velocities=True)[:, None]
            for record in self.velocities.values():
                record.subtract(centre)


class _Frames:
    """Frames that are kept."""

    def __init__(self):
        self.pieces: list[np.ndarray] = []

    def update(self, frames: np.ndarray) -> None:
        self.pieces.append(frames)

    def joined(self) -> np.ndarray:
        """All frames in one array; the pieces are let go."""
        self.pieces = [np.concatenate(self.pieces)]
        return self.pieces[0]

    def subtract(self, centre: np.ndarray) -> None:
        """Take (T, 1, 3) from all frames."""
        frames = self.joined()
        frames -= centre


def _diffusivity(record: _Frames | StreamingMSD, analysis: SelfDiffusion) -> Diffusivity:
    if isinstance(record, _Frames):
        return analysis.compute(record.joined())
    last = None if analysis.last is None else round(analysis.last / analysis.timestep)
    return analysis.compute_msd(*record.averages(last))


def _groups(analysis: TrajectoryAnalysis, piece: Trajectory) -> dict[str, np.ndarray]:
    """Masks (N,) of what is to be analysed."""
    species = list(analysis.species)
    if not species and not analysis.groups:
        species = list(dict.fromkeys(piece.species.tolist()))
    groups = {name: piece.group(name) for name in species}
    for name, ids in analysis.groups.items():
        if name in groups:
            raise InputError(f"group {name} has the name of a species: expected another name")
        groups[name] = piece.atoms(ids)
    return groups


def _charges(
    charges: Mapping[str, float] | None, piece: Trajectory, groups: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """Charges (N,) of all atoms, e."""
    if charges is None:
        return None
    piece.group(list(charges))  # raises where a name is none of the species
    if not set(charges) & set(groups):
        raise InputError(
            f"charges of {', '.join(charges)}, but {', '.join(groups)} are analysed: expected a species that carries "
            "charge among them"
        )
    analysed = np.any(list(groups.values()), axis=0)
    if missing := sorted(set(piece.species[analysed]) - set(charges)):
        raise InputError(
            f"no charge for {', '.join(missing)}: expected one for every species analysed, e.g. "
            f"{missing[0]}=1 (0 where it carries none)"
        )
    return np.array([charges.get(s, 0.0) for s in piece.species])
