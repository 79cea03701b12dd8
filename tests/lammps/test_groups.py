# SPDX-License-Identifier: GPL-2.0-or-later
"""A committee whose members share work is evaluated as one map: same numbers as member by member."""

import numpy as np
import pytest
from crystal import atoms, forces, mtp_text, positions, posterior_file, run, set_positions
from naive_nep import nep_text

from pyuq.evaluate.calculator import UQCalculator

THERMO = "thermo_style custom step pe press\nthermo_modify format float %.16g\n"
EQUAL = {"elements": ("Al", "Si"), "zbl": "0.8 1.8", "l_max": "4 1 1"}


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Three potentials of equal hyperparameters, of different hidden layers, and one of another cutoff."""
    folder = tmp_path_factory.mktemp("members")
    paths = []
    for n, changes in enumerate(({}, {"neurons": 7}, {"cutoff": "4.2 3.6"}, {"neurons": 9})):
        paths.append(folder / f"{n}.txt")
        paths[-1].write_text(nep_text(**(EQUAL | {"seed": n} | changes)))
    return paths


def linear_members(folder, family, posteriors):
    """Three potentials of equal radial functions and other linear coefficients."""
    folder.mkdir()
    seeds = (1, 2, 3)
    if family == "ace":
        paths = [posterior_file(folder, str(seed), seed) for seed in seeds]
        for path in [] if posteriors else paths:
            path.unlink()
        return [path if posteriors else path.with_suffix(".yace") for path in paths]
    head, tail = mtp_text().rsplit("moment_coeffs", 1)
    paths = [folder / f"{seed}.mtp" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        values = np.random.default_rng(seed).normal(scale=0.05, size=tail.count(",") + 1)
        path.write_text(f"{head}moment_coeffs = {{{', '.join(map(str, values))}}}\n")
    return paths


def observed(files, style="uq", extra=""):
    """Energy, pressure and forces of one step."""
    lmp = run(atoms(files, pair=style) + THERMO + extra + "run 1 post no")
    return lmp, lmp.get_thermo("pe"), lmp.get_thermo("press"), forces(lmp)


@pytest.mark.parametrize("others", ["", "ACE"])
def test_mean_and_sigma_of_members_one_by_one(members, potential, others):
    paths = [*members, potential] if others else members
    files = " ".join(map(str, paths))
    single = [observed(files, f"uq driver {k + 1}")[1:] for k in range(len(paths))]
    energies, pressures, member_forces = (np.array(values) for values in zip(*single, strict=True))
    _, energy, pressure, f = observed(files)
    assert energy == pytest.approx(energies.mean(), rel=1e-12)
    assert pressure == pytest.approx(pressures.mean(), rel=1e-9)
    np.testing.assert_allclose(f, member_forces.mean(axis=0), atol=1e-11 * np.abs(f).max())
    if others:  # its posterior adds to σ
        return
    lmp = observed(files, extra="fix h all uq/hal tau 0\n")[0]
    assert lmp.extract_fix("h", 0, 1, 1) == pytest.approx(energies.std(), rel=1e-12)


@pytest.mark.parametrize(("family", "posteriors"), [("ace", False), ("ace", True), ("mtp", False)])
def test_linear_members_one_by_one(tmp_path, family, posteriors):
    paths = [str(path) for path in linear_members(tmp_path / "models", family, posteriors)]
    bias = "fix h all uq/hal tau 0\n" * posteriors
    single = [observed(path, extra=bias) for path in paths]
    energies = np.array([result[1] for result in single])
    variances = [lmp.extract_fix("h", 0, 1, 1) ** 2 for lmp, *_ in single] if posteriors else [0.0]
    lmp, energy, pressure, f = observed(" ".join(paths), extra="fix h all uq/hal tau 0\n")
    assert energy == pytest.approx(energies.mean(), rel=1e-11)
    assert pressure == pytest.approx(np.mean([result[2] for result in single]), rel=1e-9)
    np.testing.assert_allclose(
        f, np.mean([result[3] for result in single], axis=0), atol=1e-10 * np.abs(f).max()
    )
    sigma = np.sqrt(energies.var() + np.mean(variances))
    assert lmp.extract_fix("h", 0, 1, 1) == pytest.approx(sigma, rel=1e-10)


def test_a_member_given_twice_is_refused(members):
    for files in ([members[0], members[1], members[0]], [members[0]] * 2):
        with pytest.raises(Exception, match="are the same model"):
            observed(" ".join(map(str, files)))
        with pytest.raises(ValueError, match="are the same model"):
            UQCalculator(files)


def test_members_see_the_distance_of_the_step(members):
    lmp = observed(" ".join(map(str, members)), extra="fix h all uq/hal tau 0\n")[0]
    x = positions(lmp)
    cell = 8.1
    d = x[:, None] - x[None]
    d -= cell * np.round(d / cell)
    r = np.linalg.norm(d, axis=2) + 100 * np.eye(len(x))
    assert lmp.extract_fix("h", 0, 1, 6) == pytest.approx(r.min(), rel=1e-12)


@pytest.mark.parametrize("every", [1, 1000], ids=["apart", "merged"])
def test_biased_forces(members, potential, every):
    files = " ".join(map(str, [*members, potential]))
    bias = f"fix h all uq/hal tau 1.5 every {every}\n"
    lmp, _, _, analytic = observed(files, extra=bias)
    assert lmp.extract_fix("h", 0, 0) < -0.05
    x0 = positions(lmp)

    def energy(atom, axis, shift):
        x = x0.copy()
        x[atom, axis] += shift
        set_positions(lmp, x)
        lmp.command("run 0 post no")
        return lmp.get_thermo("pe")

    for atom, axis in ((0, 0), (7, 1), (19, 2)):
        h = 1e-3
        a, b, c, d = (energy(atom, axis, n * h) for n in (-2, -1, 1, 2))
        numeric = -(a - 8 * b + 8 * c - d) / (12 * h)
        assert numeric == pytest.approx(
            analytic[atom, axis], abs=1e-6 * max(1.0, np.abs(analytic).max())
        )


def test_spread_of_forces(members):
    """One pass for the forces of all members of a group gives the spread of members one by one."""
    files = " ".join(map(str, members))
    single = np.array([observed(files, f"uq driver {k + 1}")[3] for k in range(len(members))])
    for driver in ("mean", "3"):
        output = "fix d all uq/deviation 1 file none\n"
        lmp = observed(files, f"uq driver {driver}", output)[0]
        spread = np.sqrt(((single - single.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        found = [lmp.extract_fix("d", 0, 1, n) for n in (3, 4, 5)]
        assert found == pytest.approx([spread.max(), spread.min(), spread.mean()], rel=1e-9)
