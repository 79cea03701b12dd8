# SPDX-License-Identifier: GPL-2.0-or-later
"""Living with other styles and with repeated use: hybrids, clear, two instances, computes, fix pair, NaN."""

import numpy as np
import pytest
from crystal import atoms, forces, positions, posterior_file, run, set_positions
from safetensors import safe_open
from safetensors.numpy import save_file

ZBL = "zbl 2.0 3.0"


def test_hybrid_overlay(potential):
    """uq + zbl is the sum of both, biased or not."""
    coeff = f"pair_coeff * * uq {potential} Al Si\npair_coeff 1 1 zbl 13 13\n"
    coeff += "pair_coeff 1 2 zbl 13 14\npair_coeff 2 2 zbl 14 14"
    zbl_only = "pair_coeff 1 1 13 13\npair_coeff 1 2 13 14\npair_coeff 2 2 14 14"
    measure = "compute p all pressure NULL virial\nthermo_style custom pe c_p[*]\n"
    measure += "thermo_modify format float %.16g\nrun 1 post no"
    bias = "fix h all uq/hal tau 2.0 every 1000\n"
    zbl = run(atoms(potential, pair=ZBL, coeff=zbl_only) + measure)
    for extra in ("", bias):
        alone = run(atoms(potential) + extra + measure)
        both = run(atoms(potential, pair=f"hybrid/overlay uq {ZBL}", coeff=coeff) + extra + measure)
        np.testing.assert_allclose(
            forces(both), forces(alone) + forces(zbl), rtol=1e-10, atol=1e-10
        )
        for key, value in both.last_thermo().items():
            assert value == pytest.approx(
                alone.last_thermo()[key] + zbl.last_thermo()[key], rel=1e-9
            )


def test_hybrid_null(potential):
    """In `hybrid`, types mapped to NULL are invisible to the model: deleting them changes nothing."""
    coeff = f"pair_coeff 1 1 zero\npair_coeff 1 2 zero\npair_coeff * * uq {potential} NULL Si\n"
    mixed = run(
        atoms(potential, pair="hybrid uq zero 4.5", coeff=coeff)
        + "fix h all uq/hal tau 2.0\nrun 1 post no"
    )
    script = atoms(potential, extra="") + "group al type 1\ndelete_atoms group al compress no\n"
    alone = run(script + "fix h all uq/hal tau 2.0\nrun 1 post no")
    assert mixed.get_thermo("pe") == pytest.approx(alone.get_thermo("pe"), rel=1e-10)
    for n in range(5):
        assert mixed.extract_fix("h", 0, 1, n) == pytest.approx(
            alone.extract_fix("h", 0, 1, n), rel=1e-9
        )


def test_element_order(potential):
    """Elements map by name; repeated elements are two types of one species."""
    same = run(atoms(potential, coeff=f"pair_coeff * * {potential} Al Al") + "run 0")
    ones = run(
        atoms(potential, coeff=f"pair_coeff * * {potential} Al Si") + "set group all type 1\nrun 0"
    )
    assert same.get_thermo("pe") == pytest.approx(ones.get_thermo("pe"), rel=1e-12)
    swap = "set type 1 type/fraction 2 1.0 1\n"  # everything Si in the first, type 2 mapped to Al in the second
    a = run(atoms(potential) + swap + "run 0")
    b = run(
        atoms(potential, coeff=f"pair_coeff * * {potential} Si Al") + "set group all type 1\nrun 0"
    )
    assert a.get_thermo("pe") == pytest.approx(b.get_thermo("pe"), rel=1e-12)


def test_yace_beside_posterior(potential):
    """NAME.yace and NAME.uq are the same model."""
    beside = potential.with_suffix(".yace")
    a = run(atoms(potential) + "fix h all uq/hal tau 2.0\nrun 0")
    b = run(atoms(beside) + "fix h all uq/hal tau 2.0\nrun 0")
    np.testing.assert_allclose(forces(a), forces(b), rtol=1e-9, atol=1e-9)


def test_clear_and_two_instances(potential):
    """`clear` and a second instance in the same process leave each other alone."""
    script = atoms(potential) + "fix h all uq/hal tau 2.0\nrun 0"
    first = run(script)
    expected = first.get_thermo("pe")
    second = run(atoms(potential) + "fix h all uq/hal tau 1.0\nrun 0")
    first.command("run 0")
    assert first.get_thermo("pe") == expected
    assert second.get_thermo("pe") > expected
    for _ in range(3):
        first.command("clear")
        first.commands_string(script)
        assert first.get_thermo("pe") == pytest.approx(expected, rel=1e-12)
    first.close()
    second.command("run 0")


def test_unfix(potential):
    """Without its fix the pair is unbiased again."""
    lmp = run(atoms(potential) + "fix n all nve\nfix h all uq/hal tau 2.0\nrun 5")
    lmp.command("unfix h")
    lmp.command("run 0")
    energy, f = lmp.get_thermo("pe"), forces(lmp)
    plain = run(atoms(potential) + "run 0")
    set_positions(plain, positions(lmp))
    plain.command("run 0")
    assert energy == pytest.approx(plain.get_thermo("pe"), rel=1e-9)
    np.testing.assert_allclose(f, forces(plain), atol=1e-8)


def test_committee(tmp_path, potential):
    """Two models: the mean of both; σ² = mean variance + variance of the energies; drivers pick one."""
    other = posterior_file(tmp_path, "other", seed=9)
    energies, variances = [], []
    for model in (potential, other):
        lmp = run(atoms(model) + "compute u all uq\nthermo_style custom pe c_u[*]\nrun 0")
        energies.append(lmp.get_thermo("pe"))
        variances.append(lmp.last_thermo()["c_u[1]"] ** 2)
    coeff = f"pair_coeff * * {potential} {other} Al Si"
    both = run(atoms(potential, coeff=coeff) + "fix h all uq/hal tau 2.0\nrun 0")
    sigma = np.sqrt(np.mean(variances) + np.var(energies))
    assert both.extract_fix("h", 0, 1, 1) == pytest.approx(sigma, rel=1e-9)
    assert both.get_thermo("pe") == pytest.approx(np.mean(energies) - 2.0 * sigma, rel=1e-9)
    driven = run(atoms(potential, coeff=coeff, pair="uq driver 2") + "run 0")
    assert driven.get_thermo("pe") == pytest.approx(energies[1], rel=1e-12)


def test_samples(tmp_path):
    """K readout samples are the covariance of their deviations from the mean."""
    sampled = posterior_file(tmp_path, "sampled", samples=12)
    with safe_open(sampled, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    deviation = (tensors.pop("samples") - tensors["mean"]) / np.sqrt(12)
    exact = tmp_path / "exact.uq"
    save_file(tensors | {"covariance": deviation.T @ deviation}, exact, metadata=metadata)
    for mode in ("global", "local"):
        command = f"fix h all uq/hal tau 2.0 mode {mode}\nrun 1"
        a, b = run(atoms(sampled) + command), run(atoms(exact) + command)
        assert a.extract_fix("h", 0, 1, 1) == pytest.approx(b.extract_fix("h", 0, 1, 1), rel=1e-8)
        np.testing.assert_allclose(forces(a), forces(b), rtol=1e-7, atol=1e-8)


def test_computes_need_no_fix(potential):
    """compute uq and compute uq/atom agree with the fix and with fix pair, at every step."""
    script = (
        atoms(potential)
        + """
compute u all uq
compute a all uq/atom energy force relative
fix s all pair 1 uq sigma 1 force_sigma 1 relative 1
fix n all nve
thermo_style custom pe c_u[*]
run 7
run 0
"""
    )
    lmp = run(script)
    alone = lmp.last_thermo()
    table = lmp.numpy.extract_compute("a", 1, 2)[: lmp.get_natoms()]
    stored = lmp.numpy.extract_fix("s", 1, 2)[: lmp.get_natoms()]
    np.testing.assert_allclose(stored, table, rtol=1e-10)
    assert alone["c_u[2]"] == pytest.approx(table[:, 2].max(), rel=1e-10)
    tags = lmp.numpy.extract_atom("id")[: lmp.get_natoms()]
    assert alone["c_u[3]"] == tags[table[:, 2].argmax()]
    assert alone["c_u[5]"] == pytest.approx(table[:, 1].mean(), rel=1e-10)
    assert alone["c_u[1]"] <= table[:, 0].sum()  # σ_E ≤ Σσ_i
    lmp.command("fix h all uq/hal tau 1.0")
    lmp.command("run 0")
    assert lmp.extract_fix("h", 0, 1, 1) == pytest.approx(alone["c_u[1]"], rel=1e-10)
    assert lmp.extract_fix("h", 0, 1, 4) == pytest.approx(alone["c_u[2]"], rel=1e-10)
    assert lmp.extract_fix("h", 0, 1, 6) == pytest.approx(alone["c_u[6]"], rel=1e-12)


def test_sigma_of_atoms_from_energies(potential):
    """Σσ_i of the local mode is the sum of compute uq/atom."""
    lmp = run(
        atoms(potential)
        + "compute a all uq/atom energy\ncompute s all reduce sum c_a\nfix h all uq/hal tau 1.0 mode local\n"
        + "thermo_style custom pe c_s f_h f_h[2]\nthermo_modify format float %.16g\nrun 1"
    )
    thermo = lmp.last_thermo()
    assert thermo["f_h[2]"] == pytest.approx(thermo["c_s"], rel=1e-10)
    assert thermo["f_h"] == pytest.approx(-thermo["c_s"], rel=1e-10)


def test_fix_halt(potential):
    """A stock `fix halt` stops on the relative force uncertainty."""
    lmp = run(
        atoms(potential)
        + "fix n all nve\ncompute u all uq\nvariable worst equal c_u[2]\n"
        + "fix stop all halt 5 v_worst > 1e-6 error continue\nrun 50"
    )
    assert lmp.extract_global("ntimestep") == 5


@pytest.mark.parametrize("bias", ["", "fix h all uq/hal tau 1.0\n"], ids=["plain", "biased"])
@pytest.mark.parametrize("gap", [0.0, 1e-5])
def test_atoms_on_top_of_each_other(model, tmp_path, bias, gap):
    """Of every family: the run ends with the two atoms and their distance, and the frame is on disk."""
    lmp = run(atoms(model) + bias)
    lmp.command("run 0")
    x = positions(lmp)
    x[10] = x[3] + [gap, 0.0, 0.0]
    set_positions(lmp, x)
    message = rf"atoms 4 and 11 are {gap:.3g} Angstrom apart at step 0.*uq_coincident\.0\.dump"
    with pytest.raises(Exception, match=message):
        lmp.command("run 0")
    assert (tmp_path / "uq_coincident.0.dump").is_file()


def test_nan_stops_with_frame(potential, tmp_path):
    """A position that is no number: the run ends with step and atom, and the frame is on disk."""
    lmp = run(atoms(potential) + "neigh_modify every 100 delay 100 check no\nfix n all nve\nrun 2")
    x = positions(lmp)
    x[4] = np.nan
    set_positions(lmp, x)
    with pytest.raises(
        Exception, match=r"position of atom 5 is not finite at step 3.*uq_nonfinite\.3\.dump"
    ):
        lmp.command("run 5 pre no")
    lines = (tmp_path / "uq_nonfinite.3.dump").read_text().splitlines()
    assert len(lines) == 9 + len(x)
    assert lines[8] == "ITEM: ATOMS id type x y z"
