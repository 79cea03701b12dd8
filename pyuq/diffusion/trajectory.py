# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that one trajectory tells about diffusion, read in one pass."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyuq.brief import brief
from pyuq.diffusion.conductivity import charge_displacement, collective_diffusivity
from pyuq.diffusion.green_kubo import GreenKubo, VelocityCorrelation
from pyuq.diffusion.msd import remove_drift
from pyuq.diffusion.pooling import Pooled, block_average
from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion
from pyuq.diffusion.streaming import StreamingMSD
from pyuq.io.trajectory import Trajectory, iterate_trajectory

PICOSECONDS = {"metal": 1.0, "real": 1e-3}  # unit of time of LAMMPS's unit styles that measure in Å
STEPS = (1e-5, 0.1)  # ps, shortest and longest of a simulation; others are in another unit
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
        }


@brief()
@dataclass(frozen=True)
class TrajectoryAnalysis:
    """Self-diffusion, and on request collective motion and Green–Kubo, from a file.

    Parameters
    ----------
    timestep : float
        Time of one step of the file, in the unit of `units`; for formats that number their frames (extended XYZ,
        MDAnalysis) the time between frames.
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
        the frame of the file. Default: the atoms that are not analysed, or all where none is left.
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

    timestep: float
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
        ValueError
            Parameters that do not go together, a dump that names other units, what :func:`iterate_trajectory`
            refuses, a group that has no atoms, a species without charge, no velocities, too few frames. The message
            names the file.
        """
        self._check()
        try:
            return self._compute(path)
        except ValueError as error:
            name = str(path)
            raise error if name in str(error) else ValueError(f"{name}: {error}") from None

    def _check(self) -> None:
        if self.units not in PICOSECONDS:
            raise ValueError(f"units {self.units}: expected one of {', '.join(PICOSECONDS)}")
        for name in ("timestep", "first", "last"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} {value}: expected a positive time")
        if bad := [s for s, q in (self.charges or {}).items() if not np.isfinite(q)]:
            raise ValueError(f"charge {self.charges[bad[0]]} of {bad[0]}: expected a number, e")
        if self.skip < 0 or self.stride < 1:
            raise ValueError(
                f"skip {self.skip} and stride {self.stride}: expected skip ≥ 0 and stride ≥ 1"
            )
        if self.stream and (self.tensor or self.green_kubo or self.blocks):
            raise ValueError(
                "stream does not go with tensor, green_kubo or blocks, which need the whole trajectory: leave one out"
            )
        if self.blocks == 1 or self.blocks < 0:
            raise ValueError(f"blocks {self.blocks}: expected at least 2, or 0 for none")

    def _compute(self, path) -> TrajectoryResult:
        pieces = iterate_trajectory(
            path,
            elements=self.elements,
            skip=self.skip,
            stride=self.stride,
            partial=self.partial,
        )
        record = None
        with tqdm(desc=Path(str(path)).name, unit=" frames", disable=None) as bar:
            for piece in pieces:
                record = record or _Record(self, piece)
                record.update(piece)
                bar.update(len(piece.steps))
        return record.result(str(path))


class _Record:
    """What is kept of the frames."""

    def __init__(self, analysis: TrajectoryAnalysis, piece: Trajectory):
        self.analysis = analysis
        if piece.units not in (None, analysis.units):
            raise ValueError(
                f"the dump is in units {piece.units}, the analysis in units {analysis.units}: expected the same"
            )
        step = analysis.timestep * PICOSECONDS[analysis.units]
        if np.diff(piece.steps[:2]).sum() > 1 and not STEPS[0] <= step <= STEPS[1]:  # not frames
            raise ValueError(
                f"timestep {analysis.timestep:g} in units {analysis.units} is {step:g} ps, which no simulation "
                "takes for a step: expected ps (0.002) in units metal, fs (2) in units real"
            )
        self.groups = _groups(analysis, piece)
        self.reference = _Reference.choose(analysis.framework, piece, self.groups)
        self.charges = _charges(analysis.charges, piece, self.groups)
        if analysis.green_kubo and piece.velocities is None:
            raise ValueError(
                "no velocities, which Green–Kubo needs: write vx vy vz every few steps, so that vibrations are resolved"
            )
        keep = StreamingMSD if analysis.stream else _Frames
        self.positions = {name: keep() for name in self.groups}
        self.velocities = {name: _Frames() for name in self.groups if analysis.green_kubo}
        self.sums = {
            name: _Frames()
            for name, chosen in self.groups.items()
            if analysis.collective and not self.reference.fixes(chosen)
        }
        self.charge = _Frames()
        self.steps: list[int] = []
        self.volume = 0.0
        self.cell, self.fixed_cell = piece.cells[0], True

    def update(self, piece: Trajectory) -> None:
        self.steps.extend(piece.steps.tolist())
        self.volume += piece.volume * len(piece.steps)
        self.fixed_cell &= np.allclose(piece.cells, self.cell, rtol=SAME_CELL)
        positions = self.reference.remove(piece.positions)
        for name, record in self.positions.items():
            record.update(positions[:, self.groups[name]])
        for name, record in self.sums.items():
            record.update(positions[:, self.groups[name]].sum(axis=1, keepdims=True))
        if self.charges is not None:
            self.charge.update(charge_displacement(positions, self.charges)[:, None])
        if self.velocities:
            velocities = self.reference.remove(piece.velocities)
            for name, record in self.velocities.items():
                record.update(velocities[:, self.groups[name]])

    def result(self, name: str) -> TrajectoryResult:
        analysis = self.analysis
        unit = PICOSECONDS[analysis.units]
        spacing = (self.steps[1] - self.steps[0]) * analysis.timestep * unit
        line = SelfDiffusion(spacing, first=analysis.first, last=analysis.last)
        tensor = SelfDiffusion(
            spacing, first=analysis.first, last=analysis.last, tensor=analysis.tensor
        )
        counts = {s: int(chosen.sum()) for s, chosen in self.groups.items()}
        single = {s: _diffusivity(p, tensor) for s, p in self.positions.items()}
        collective = {
            s: collective_diffusivity(p.joined()[:, 0] / np.sqrt(counts[s]), line, [single[s]])
            for s, p in self.sums.items()
        }
        charge = None
        if self.charges is not None:
            charged = [d for s, d in single.items() if analysis.charges.get(s)]
            charge = collective_diffusivity(self.charge.joined()[:, 0], line, charged)
        return TrajectoryResult(
            name=name,
            n_frames=len(self.steps),
            spacing=spacing,
            volume=self.volume / len(self.steps),
            fixed_cell=self.fixed_cell,
            reference=self.reference.words,
            counts=counts,
            diffusivities=single,
            collective=collective,
            charge=charge,
            net_charge=0.0 if self.charges is None else float(self.charges.sum()),
            green_kubo={
                s: GreenKubo(spacing, analysis.last).compute(v.joined() / unit)
                for s, v in self.velocities.items()
            },
            blocks={
                s: block_average(p.joined(), line, analysis.blocks)
                for s, p in self.positions.items()
                if analysis.blocks
            },
        )


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
            raise ValueError(f"group {name} has the name of a species: expected another name")
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
        raise ValueError(
            f"charges of {', '.join(charges)}, but {', '.join(groups)} are analysed: expected a species that carries "
            "charge among them"
        )
    analysed = np.any(list(groups.values()), axis=0)
    if missing := sorted(set(piece.species[analysed]) - set(charges)):
        raise ValueError(
            f"no charge for {', '.join(missing)}: expected one for every species analysed, e.g. "
            f"{missing[0]}=1 (0 where it carries none)"
        )
    return np.array([charges.get(s, 0.0) for s in piece.species])


@brief()
@dataclass(frozen=True)
class _Reference:
    """Frame of reference; without atoms it is that of the file."""

    atoms: np.ndarray | None
    masses: np.ndarray | None
    words: str

    @classmethod
    def choose(
        cls, framework: Sequence[str], piece: Trajectory, groups: Mapping[str, np.ndarray]
    ) -> "_Reference":
        framework = list(framework)
        alone = not framework and len(piece.species) == 1  # its own centre would never move
        if framework == ["none"] or alone:
            return cls(None, None, "the frame of the file")
        masses, weight = _masses(piece.species)
        rest = ~np.any(list(groups.values()), axis=0)
        if framework == ["all"] or (not framework and not rest.any()):
            return cls(np.ones(len(rest), dtype=bool), masses, f"the centre{weight} of all atoms")
        atoms = piece.group(framework) if framework else rest
        names = ", ".join(dict.fromkeys(piece.species[atoms].tolist()))
        return cls(atoms, masses, f"the centre{weight} of {atoms.sum()} atoms of {names}")

    def remove(self, vectors: np.ndarray) -> np.ndarray:
        """Positions or velocities relative to the frame."""
        return vectors if self.atoms is None else remove_drift(vectors, self.atoms, self.masses)

    def fixes(self, chosen: np.ndarray) -> bool:
        """Whether the sum over some atoms cannot move, as they alone define the frame."""
        return self.atoms is not None and np.array_equal(self.atoms, chosen)


def _masses(species: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Masses (N,) where all species are elements, g/mol, and a word on it."""
    from ase.data import atomic_masses, atomic_numbers

    if not all(name in atomic_numbers for name in set(species.tolist())):
        return None, ""
    return np.array([atomic_masses[atomic_numbers[name]] for name in species]), " of mass"
