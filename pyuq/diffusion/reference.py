# SPDX-License-Identifier: GPL-2.0-or-later
"""Frame of reference of displacements, chosen from the data.

The centre of a framework takes the drift of a crystal out of the motion of its ions. The centre of atoms that diffuse
themselves puts its own motion in: D_f / N_f of N_f of them. Therefore atoms are a framework only where they
stay in their places, and what the centre still moves by itself is part of the error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyuq.brief import brief
from pyuq.diffusion.regression import MIN_LAGS
from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion
from pyuq.diffusion.streaming import StreamingMSD
from pyuq.io.trajectory import Trajectory

DRIFT = 2.0  # times what independent atoms make of the motion of all atoms together, to be called a drift


@brief()
@dataclass(frozen=True)
class Reference:
    """Frame of reference.

    Attributes
    ----------
    words : str
        What positions are relative to.
    atoms : ndarray of bool, shape (N,), or None
        Atoms whose centre it is; None for the frame of the file.
    weights : ndarray, shape (n parts,)
        Share of each part of the atoms (:attr:`Survey.parts`) in the centre; zeros for the frame of the file.
    error : float
        Standard error that its own motion adds to a diffusivity, Å²/ps.
    remarks : tuple of str
    """

    words: str
    atoms: np.ndarray | None
    weights: np.ndarray
    error: float = 0.0
    remarks: tuple[str, ...] = ()

    def fixes(self, chosen: np.ndarray) -> bool:
        """Whether the sum over some atoms cannot move, as they alone define the frame."""
        return self.atoms is not None and np.array_equal(self.atoms, chosen)


@brief("asked", "decides", "count")
class Survey:
    """Watches the atoms that may be a framework, and the centre of all.

    Parameters
    ----------
    framework : sequence of str
        Of :class:`TrajectoryAnalysis`: species, ``("all",)``, ``("none",)``, or none of these: let the data decide.
    piece : Trajectory
        The first frames.
    groups : mapping from name to mask (N,)
        What is analysed.

    Attributes
    ----------
    parts : list of (str, ndarray)
        Name and mask of each part of the atoms whose centre is kept; the last is all of them.
    decides : bool
        Whether the choice waits for the data.
    """

    def __init__(
        self, framework: Sequence[str], piece: Trajectory, groups: Mapping[str, np.ndarray]
    ):
        framework = list(framework)
        everything = np.ones(len(piece.species), dtype=bool)
        rest = ~np.any(list(groups.values()), axis=0)
        self.asked = framework
        if not framework and len(piece.species) == 1:  # its own centre would never move
            self.asked = ["none"]
        self.decides = not self.asked
        chosen = rest
        if framework and framework not in (["none"], ["all"]):
            chosen = piece.group(framework)
        elif framework:
            chosen = np.zeros_like(rest)
        self.parts = [
            (name, chosen & (piece.species == name))
            for name in dict.fromkeys(piece.species[chosen].tolist())
        ]
        self.parts.append(("all", everything))
        self.masses, self.weight = _masses(piece.elements)
        mass = np.ones(len(piece.species)) if self.masses is None else self.masses
        self._mass = mass
        self._shares = [mass * mask / mass[mask].sum() for _, mask in self.parts]
        self._centres: list[np.ndarray] = []
        self._velocities: list[np.ndarray] = []
        watched = [] if self.asked == ["none"] else self.parts if self.decides else self.parts[:-1]
        if self.asked == ["all"]:
            watched = self.parts
        self._watched = watched
        self._inner = {name: StreamingMSD() for name, _ in watched}
        self.count = 0

    def update(self, piece: Trajectory) -> None:
        """Take in the next frames, positions as they are in the file."""
        self.count += len(piece.positions)
        centres = self._centre(piece.positions)
        self._centres.append(centres)
        if piece.velocities is not None:
            self._velocities.append(self._centre(piece.velocities))
        for k, (name, mask) in enumerate(self._watched):
            # An atom on its own tells nothing relative to itself.
            own = centres[:, k] if mask.sum() > 1 else centres[:, -1]
            self._inner[name].update(piece.positions[:, mask] - own[:, None])

    def _centre(self, vectors: np.ndarray) -> np.ndarray:
        """Centres of the parts, (C, n parts, 3)."""
        return np.einsum("tna,pn->tpa", vectors, np.array(self._shares), optimize=True)

    def path(self, reference: Reference, velocities: bool = False) -> np.ndarray:
        """Motion (T, 3) of the frame of reference: positions (Å) or velocities."""
        kept = self._velocities if velocities else self._centres
        return np.concatenate(kept).transpose(0, 2, 1) @ reference.weights

    def choose(self, spacing: float) -> Reference:
        """Choose the frame of reference.

        Parameters
        ----------
        spacing : float
            Time between frames, ps.
        """
        none = np.zeros(len(self.parts))
        if self.asked == ["none"] or self.count <= MIN_LAGS:
            return Reference("the frame of the file", None, none)
        own = {name: self._own(name, mask, spacing) for name, mask in self._watched}
        if self.asked == ["all"]:
            return self._all(own["all"], "")
        parts = self.parts[:-1]
        if not self.decides:
            return self._framework(parts, own, tuple(self._warn(parts, own)))
        still = [(name, mask) for name, mask in parts if mask.sum() > 1 and not own[name].resolved]
        if still:
            return self._framework(still, own, ())
        why = ""
        if parts:
            names = ", ".join(
                f"{n} {'atom' if n == 1 else 'atoms'} of {name}"
                for name, n in ((name, int(mask.sum())) for name, mask in parts)
            )
            alone = all(mask.sum() == 1 for _, mask in parts)
            what = "one atom makes none" if alone else "they diffuse themselves"
            why = f"no framework is left: {names}, but {what}"
        together = SelfDiffusion(spacing, last=self._last() * spacing).compute(
            self.path(Reference("", None, np.eye(len(parts) + 1)[-1]))[:, None]
        )
        alone = self._independent(own["all"])
        if together.interval()[0] > DRIFT * max(alone.interval()[1], 0.0):
            drifts = "all atoms together drift"
            return self._all(own["all"], f"; {why}, and {drifts}" if why else f", as {drifts}")
        excess = max(together.value - alone.value, 0.0)
        note = f" ({why}; all atoms together do not drift)" if why else ""
        note = note or " (all atoms together do not drift)"
        return Reference(f"the frame of the file{note}", None, none, excess, (why,) if why else ())

    def latest(self) -> np.ndarray:
        """Motion (C, 3) of the frame of reference in the last piece, where it does not wait for the data."""
        weights = np.zeros(len(self.parts))
        if self.asked == ["all"]:
            weights[-1] = 1.0
        elif self.asked != ["none"]:
            mass = np.array([self._mass[mask].sum() for _, mask in self.parts[:-1]])
            weights[:-1] = mass / mass.sum()
        return self._centres[-1].transpose(0, 2, 1) @ weights

    def _last(self) -> int:
        return max(self.count // 4, MIN_LAGS)

    def _own(self, name: str, mask: np.ndarray, spacing: float) -> Diffusivity:
        """Diffusivity of atoms relative to their own centre, squares weighted as the centre weighs them."""
        lags, by_atom, n_frames, origins = self._inner[name].averages(self._last())
        share = self._mass[mask] / self._mass[mask].mean()
        squares = by_atom * share[:, None] ** 2 / np.mean(share**2)
        analysis = SelfDiffusion(spacing)
        found = analysis.compute_msd(lags, squares, n_frames, origins)
        return found

    def _independent(self, own: Diffusivity) -> Diffusivity:
        """Motion of the centre of all atoms, were each on its own."""
        squares = self._squares(np.ones(len(self._mass), dtype=bool))
        return own.scaled(squares / max(1.0 - squares, squares))

    def _squares(self, mask: np.ndarray) -> float:
        """Sum of the squared shares of some atoms in their centre."""
        share = self._mass[mask] / self._mass[mask].sum()
        return float(share @ share)

    def _all(self, own: Diffusivity, why: str) -> Reference:
        weights = np.eye(len(self.parts))[-1]
        words = f"the centre{self.weight} of all atoms{why}"
        error = max(self._independent(own).value, 0.0)
        return Reference(words, self.parts[-1][1], weights, error)

    def _framework(
        self,
        parts: list[tuple[str, np.ndarray]],
        own: Mapping[str, Diffusivity],
        remarks: tuple[str, ...],
    ) -> Reference:
        atoms = np.any([mask for _, mask in parts], axis=0)
        total = self._mass[atoms].sum()
        names = [name for name, _ in parts]
        shares = {name: self._mass[mask].sum() / total for name, mask in parts}
        weights = np.array([shares.get(name, 0.0) for name, _ in self.parts[:-1]] + [0.0])
        moves, noise = 0.0, 0.0
        for name, mask in parts:
            n = int(mask.sum())
            part = shares[name] ** 2 * self._squares(mask)
            moves += part * max(own[name].value, 0.0) * n / max(n - 1, 1)
            noise += (part * own[name].error * np.sqrt(n)) ** 2  # one series in place of n
        words = f"the centre{self.weight} of {atoms.sum()} atoms of {', '.join(names)}"
        return Reference(words, atoms, weights, float(np.hypot(moves, np.sqrt(noise))), remarks)

    def _warn(self, parts, own: Mapping[str, Diffusivity]):
        for name, mask in parts:
            if own[name].resolved:
                n = int(mask.sum())
                yield (
                    f"the framework diffuses itself: {n} {'atom' if n == 1 else 'atoms'} of {name}, "
                    f"D = {own[name].value:.3g} Å²/ps. The motion of their centre is in every D, and widens its "
                    "interval; leave out --framework to have the frame chosen from the data"
                )


def _masses(elements: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Masses (N,) where all species are elements, g/mol, and a word on it."""
    from ase.data import atomic_masses, atomic_numbers

    if not all(name in atomic_numbers for name in set(elements.tolist())):
        return None, ""
    return np.array([atomic_masses[atomic_numbers[name]] for name in elements]), " of mass"
