# SPDX-License-Identifier: GPL-2.0-or-later
"""Is there a framework? As the data tell, with its own noise in the interval."""

import dumps
import numpy as np
import pytest

from pyuq.diffusion import TrajectoryAnalysis

D, SPACING = 0.1, 0.1
RIGHT = {"timestep": 0.01, "elements": ("O", "Na"), "species": ["O"]}


@pytest.fixture
def walkers(tmp_path):
    """Function (mobile O, Na, how Na moves, common drift) → dump; D of O is 0.1 Å²/ps."""

    def make(n_mobile, n_other, other="walks", drift=0.0, n_frames=1500, seed=0):
        rng = np.random.default_rng(seed + 100)
        x = dumps.walk(seed, n_frames, n_mobile + n_other, D, SPACING)
        if other == "rattles":
            x[:, n_mobile:] = x[:1, n_mobile:] + rng.normal(0, 0.15, (n_frames, n_other, 3))
        x += np.cumsum(rng.normal(0, np.sqrt(2 * drift * SPACING) + 1e-9, (n_frames, 1, 3)), axis=0)
        return dumps.write(tmp_path / "t.dump", x, [1] * n_mobile + [2] * n_other, edge=20)

    return make


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n_other", [1, 2, 8])
def test_mobile_atoms_are_no_framework(walkers, n_other, stream):
    """63 Brownian O and one Na: its centre doubled D, with a narrow interval."""
    found = TrajectoryAnalysis(**RIGHT, stream=stream).compute(walkers(63, n_other))
    d = found.diffusivities["O"]
    assert abs(d.value / D - 1) < 0.05 and d.interval()[0] < D < d.interval()[1]
    assert "frame of the file" in found.reference
    assert any("no framework is left" in r for r in found.remarks)


def test_a_framework_that_is_asked_for_has_its_noise_in_the_interval(walkers):
    for n_other in (1, 3):
        found = TrajectoryAnalysis(**RIGHT, framework=["Na"]).compute(walkers(63, n_other))
        d = found.diffusivities["O"]
        assert d.interval()[0] < D < d.interval()[1]
        assert d.value == pytest.approx(D * (1 + 1 / n_other), rel=0.3)
        assert any("the framework diffuses itself" in r for r in found.remarks)
        assert found.reference_error > 0.5 * D / n_other


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_atoms_that_stay_are_a_framework(walkers, drift, stream):
    found = TrajectoryAnalysis(**RIGHT, stream=stream).compute(walkers(24, 8, "rattles", drift))
    d = found.diffusivities["O"]
    assert found.reference == "the centre of mass of 8 atoms of Na" and found.remarks == ()
    assert abs(d.value - D) < 3 * d.error and d.error < 0.05 * D
    assert found.reference_error < 0.2 * d.error


@pytest.mark.parametrize("stream", [False, True])
def test_drift_of_all_atoms_is_taken_out(walkers, stream):
    """Neither species stays: all atoms together are the frame, if they drift."""
    path = walkers(32, 32, drift=0.1)
    found = TrajectoryAnalysis(0.01, elements=("O", "Na"), stream=stream).compute(path)
    assert "centre of mass of all atoms" in found.reference and "drift" in found.reference
    still = TrajectoryAnalysis(0.01, elements=("O", "Na")).compute(walkers(32, 32))
    assert "do not drift" in still.reference
    for run in (found, still):
        for d in run.diffusivities.values():
            assert abs(d.value / D - 1) < 0.07 and d.interval()[0] < D < d.interval()[1]


def test_of_several_species_those_that_stay_are_the_framework(tmp_path):
    rng = np.random.default_rng(0)
    x = dumps.walk(0, 800, 40, D, SPACING)
    x[:, 30:] = x[:1, 30:] + rng.normal(0, 0.1, (800, 10, 3))
    x += np.cumsum(rng.normal(0, 0.2, (800, 1, 3)), axis=0)
    path = dumps.write(tmp_path / "t.dump", x, [1] * 20 + [2] * 10 + [3] * 10)
    found = TrajectoryAnalysis(0.01, elements=("Li", "Na", "P"), species=["Li"]).compute(path)
    assert found.reference == "the centre of mass of 10 atoms of P"
    assert abs(found.diffusivities["Li"].value / D - 1) < 0.15


def test_ions_that_hardly_moved_a_site_are_told():
    """Hops of 2.5 Å, half of them undone: D comes out too large where few hops were seen."""
    from pyuq.diffusion import self_diffusivity

    rng = np.random.default_rng(3)
    n_frames, n_atoms, length = 2000, 16, 2.5
    x = rng.normal(0, 0.1, (n_frames, n_atoms, 3))
    for atom in range(n_atoms):
        last = np.zeros(3)
        for t in np.sort(rng.integers(1, n_frames, 6)):
            axis = np.eye(3)[rng.integers(3)] * rng.choice([-1, 1]) * length
            last = -last if last.any() and rng.random() < 0.5 else axis
            x[t:, atom] += last
    few = self_diffusivity(x, 0.1)
    assert few.moved < 5.0 and "hardly from one site to the next" in few.verdict()
    many = self_diffusivity(dumps.walk(0, 500, 16, 1.0, 0.1), 0.1)
    assert many.moved > 2.5 and "site" not in many.verdict()
