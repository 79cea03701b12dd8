# SPDX-License-Identifier: GPL-2.0-or-later
"""The biased force and virial are the exact derivatives of the printed energy."""

import numpy as np
import pytest
from crystal import atoms, forces, positions, pressure_tensor, run, set_positions

OUTPUT = """
compute p all pressure NULL virial
thermo_style custom step pe c_p[*] f_h vol
thermo_modify format float %.16g
"""
BIASES = {
    "global": "tau 3.0",
    "global with floor": "tau 3.0 floor 0.05",
    "local": "tau 2.0 mode local",
    "local with floor": "tau 2.0 mode local floor 0.004",
}


def derivative(energy, h: float) -> float:
    """Fourth-order central difference at 0."""
    return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)


@pytest.fixture(params=[1, 1000], ids=["apart", "merged"])
def every(request):
    """With 1 the force comes from separate mean and σ passes, with 1000 from one merged pass."""
    return request.param


# No integrator: `run 1` evaluates the same positions in an ordinary step.
@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_forces(model, bias, every):
    lmp = run(atoms(model) + f"fix h all uq/hal {bias} every {every}\n{OUTPUT}\nrun 1 post no")
    assert lmp.extract_fix("h", 0, 0) < -0.05  # the bias matters
    analytic, x0 = forces(lmp), positions(lmp)

    def energy(atom, axis, shift):
        x = x0.copy()
        x[atom, axis] += shift
        set_positions(lmp, x)
        lmp.command("run 0 post no")
        return lmp.get_thermo("pe")

    for atom, axis in ((0, 0), (7, 1), (19, 2), (31, 0)):
        numeric = -derivative(lambda s: energy(atom, axis, s), 2e-3)  # noqa: B023
        assert numeric == pytest.approx(
            analytic[atom, axis], abs=1e-7 * max(1.0, np.abs(analytic).max())
        )


STRAINS = {"xx": 0, "yy": 1, "zz": 2, "xy": 3, "xz": 4, "yz": 5}


def strained_box(cell: dict, component: str, strain: float) -> str:
    """change_box command of a small strain: x' = x + strain · e_a (e_b · x)."""
    a, b = component
    if a == b:
        return f"change_box all {a} final 0 {cell[a] * (1 + strain):.16g} "
    # Upper triangular: shear moves the tilt factor of the later axis along the earlier one.
    return f"change_box all {component} final {cell[component] + strain * cell[b]:.16g} "


@pytest.mark.parametrize("component", STRAINS)
@pytest.mark.parametrize("bias", ["tau 3.0", "tau 2.0 mode local"], ids=["global", "local"])
def test_virial(model, bias, every, component):
    """W = -dE/dε, the pressure that LAMMPS prints times the volume."""
    extra = f"fix h all uq/hal {bias} every {every}\n{OUTPUT}\nrun 1 post no"
    lmp = run(atoms(model, tilt=(0.0, 0.0, 0.0)) + extra)
    nktv2p = 1.6021765e6  # LAMMPS's eV/Å³ → bar in metal units
    analytic = pressure_tensor(lmp, "p")[STRAINS[component]] * lmp.get_thermo("vol") / nktv2p
    cell = {"x": 8.1, "y": 8.1, "z": 8.1, "xy": 0.0, "xz": 0.0, "yz": 0.0}

    def energy(strain):
        lmp.command(strained_box(cell, component, strain) + "remap units box")
        lmp.command("run 0 post no")
        value = lmp.get_thermo("pe")
        lmp.command(strained_box(cell, component, 0.0) + "remap units box")
        return value

    assert -derivative(energy, 5e-4) == pytest.approx(analytic, rel=1e-6, abs=1e-6)


def test_energy_adds_up(potential):
    """pe = mean energy of the model - τσ; the per-atom energies and virials add up to the global ones."""
    lmp = run(
        atoms(potential)
        + f"""fix h all uq/hal tau 3.0 floor 0.05 every 1000
compute mean all pe pair
compute ea all pe/atom
compute e all reduce sum c_ea
compute sa all stress/atom NULL virial
compute s all reduce sum c_sa[*]
compute ca all centroid/stress/atom NULL virial
compute c all reduce sum c_ca[*]
{OUTPUT}
thermo_style custom step pe c_p[*] f_h[*] f_h vol c_mean c_e c_s[*] c_c[*]
run 1 post no"""
    )
    thermo = lmp.last_thermo()
    lowered = np.hypot(thermo["f_h[2]"], 0.05) - 0.05
    assert thermo["f_h"] == pytest.approx(-3.0 * lowered, rel=1e-12)
    assert thermo["PotEng"] == pytest.approx(thermo["c_mean"] + thermo["f_h"], rel=1e-12)
    assert thermo["PotEng"] == pytest.approx(thermo["c_e"], rel=1e-10)
    pressure = np.array([thermo[f"c_p[{n}]"] for n in range(1, 7)])
    stress = np.array([thermo[f"c_s[{n}]"] for n in range(1, 7)])
    centroid = np.array([thermo[f"c_c[{n}]"] for n in range(1, 10)])
    np.testing.assert_allclose(-stress / thermo["Volume"], pressure, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(centroid[:6], stress, rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose(
        centroid[6:], stress[3:], rtol=1e-9, atol=1e-3
    )  # symmetric in the sum


def test_real_units(potential):
    """`units real` gives the same physics in kcal/mol."""
    metal = run(atoms(potential) + f"fix h all uq/hal tau 3.0\n{OUTPUT}\nrun 0")
    real = run(atoms(potential, units="real") + f"fix h all uq/hal tau 3.0\n{OUTPUT}\nrun 0")
    factor = real.get_thermo("pe") / metal.get_thermo("pe")
    assert factor == pytest.approx(23.060549, rel=1e-6)
    np.testing.assert_allclose(forces(real), factor * forces(metal), rtol=1e-9, atol=1e-9)
    assert real.extract_fix("h", 0, 1, 1) == pytest.approx(
        factor * metal.extract_fix("h", 0, 1, 1), rel=1e-10
    )
