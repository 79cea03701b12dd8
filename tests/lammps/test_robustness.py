# SPDX-License-Identifier: GPL-2.0-or-later
"""Every family and a committee of all inside the rest of LAMMPS: hybrids, decompositions, reruns, lost atoms, heat."""

import numpy as np
import pytest
from crystal import atoms, forces, mpirun, network_file, positions, run, set_positions
from test_parallel import OUTPUT, frame, from_file, thermo

ZBL = "zbl 2.0 3.0"
PAIRS = "".join(
    f"pair_coeff {i} {j} {{}}{zi} {zj}\n"
    for i, j, zi, zj in ((1, 1, 13, 13), (1, 2, 13, 14), (2, 2, 14, 14))
)
PRECISE = "thermo_modify format float %.16g\n"


@pytest.mark.parametrize(
    "bias", ["", "fix h all uq/hal tau 2.0 mode local every 1000\n"], ids=["plain", "local"]
)
def test_hybrid_overlay_is_a_sum(model, bias):
    """Energy, pressure, forces and per-atom energies and virials of uq + zbl are those of both."""
    measure = bias + "compute p all pressure NULL virial\ncompute e all pe/atom\n"
    measure += "compute s all stress/atom NULL virial\nthermo_style custom pe c_p[*]\n" + PRECISE
    measure += (
        "compute x all reduce max c_e c_s[*]\nthermo_style custom pe c_p[*] c_x[*]\nrun 1 post no"
    )
    coeff = f"pair_coeff * * uq {model} Al Si\n{PAIRS.format(*3 * ['zbl '])}"
    systems = [
        atoms(model, pair=f"hybrid/overlay uq {ZBL}", coeff=coeff),
        atoms(model),
        atoms(model, pair=ZBL, coeff=PAIRS.format("", "", "")),
    ]
    found = []
    for system, own in zip(systems, (measure, measure, measure.removeprefix(bias)), strict=True):
        lmp = run(system + own)
        order = np.argsort(lmp.numpy.extract_atom("id")[: lmp.get_natoms()])
        per_atom = [lmp.numpy.extract_compute(c, 1, t)[order] for c, t in (("e", 1), ("s", 2))]
        pressure = [lmp.last_thermo()[f"c_p[{n}]"] for n in range(1, 7)]
        found.append([np.r_[lmp.get_thermo("pe"), pressure], forces(lmp), *per_atom])
    for both, uq, zbl in zip(*found, strict=True):
        np.testing.assert_allclose(both, uq + zbl, rtol=1e-10, atol=1e-10 * np.abs(both).max())


def test_two_sub_styles(potential, families):
    """Two of them for different types run; what needs the one pair style says so."""
    coeff = (
        f"pair_coeff * * uq 1 {potential} Al NULL\npair_coeff * * uq 2 {families['nep']} NULL Si\n"
    )
    coeff += "pair_coeff 1 2 zero\n"
    script = atoms(potential, pair="hybrid uq uq zero 4.0", coeff=coeff)
    lmp = run(script + "run 1 post no")
    parts = []
    for kind, file, types in (("2", potential, "Al NULL"), ("1", families["nep"], "NULL Si")):
        coeff = f"pair_coeff * * uq {file} {types}\npair_coeff * * zero"
        alone = atoms(potential, pair="hybrid/overlay uq zero 4.0", coeff=coeff)
        gone = f"group gone type {kind}\ndelete_atoms group gone compress no\nrun 1 post no"
        parts.append(run(alone + gone).get_thermo("pe"))
    assert lmp.get_thermo("pe") == pytest.approx(sum(parts), rel=1e-10)
    for command in ("fix h all uq/hal tau 1", "fix d all uq/deviation 1", "compute u all uq"):
        with pytest.raises(Exception, match="needs one `pair_style uq`"):
            run(script + command + "\nthermo_style custom pe\nrun 0")


LAYOUTS = {
    "processors": ("processors 1 1 4\n", ""),
    "tiled": ("", "comm_style tiled\nbalance 1.0 rcb\nfix b all balance 2 1.0 rcb\n"),
    "grid balance": ("", "fix b all balance 2 1.0 shift xyz 5 1.0\n"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_decompositions_agree(families, tmp_path, layout):
    """Any shape of the subdomains, also moving ones, in a cell with an empty end."""
    cell = dict(size=(3, 2, 2), extra="change_box all x delta 0 12 units box")
    commands = from_file(families["committee"], tmp_path, **cell)
    commands += "fix h all uq/hal tau 1.0 mode local every 2\nfix d all uq/deviation 1\n"
    commands += "neigh_modify every 1 delay 0 check no\n" + OUTPUT
    first, then = LAYOUTS[layout]
    results = []
    for ranks, text in (
        (1, commands),
        (4, first + commands.replace("pair_style", then + "pair_style")),
    ):
        (tmp_path / str(ranks)).mkdir()
        out = mpirun(ranks, text, tmp_path / str(ranks))
        spread = np.loadtxt(tmp_path / str(ranks) / "model_devi.out")
        results.append((thermo(out), frame(tmp_path / str(ranks)), spread))
    for found, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_rerun(model):
    """A dump gone through again shows what the run showed."""
    script = atoms(model) + "compute u all uq\nthermo_style custom step pe c_u[1] c_u[2] press\n"
    script += PRECISE + "thermo 2\nfix n all nve\n"
    dump = "dump d all custom 2 frames id type x y z vx vy vz\n"
    lmp = run(script + dump + "dump_modify d format float %.17g\nrun 4 post no\nundump d")
    expected = lmp.last_thermo()
    again = run(script + "rerun frames dump x y z vx vy vz").last_thermo()
    assert again["Step"] == 4
    for key, value in expected.items():
        assert again[key] == pytest.approx(value, rel=1e-9)


def test_lost_atoms(model):
    """Atoms that leave an open box are gone from all sums."""
    script = atoms(
        model,
        extra="change_box all boundary f f f x delta -3 3 y delta -3 3 z delta -3 3 units box",
    )
    script += "compute u all uq\ncompute a all uq/atom energy force relative\nfix d all uq/deviation 1 file none\n"
    script += (
        "compute worst all reduce max c_a[*]\nthermo_style custom step atoms pe c_u[*] c_worst[*]\n"
    )
    script += "thermo_modify lost ignore format float %.16g\nneigh_modify every 1 delay 0 check no\nthermo 1\n"
    lmp = run(script + "fix n all nve\ngroup out id 1 5\nvelocity out set -5000 0 0\nrun 4 post no")
    values = lmp.last_thermo()
    assert values["Atoms"] < 32
    assert np.isfinite(list(values.values())).all()
    survivors = run(script + "group out id 1 5\ndelete_atoms group out compress no\nrun 0 post no")
    assert survivors.get_natoms() == 30


@pytest.mark.parametrize(
    "fix", ["deform 1 x erate 5 y erate -2 remap x", "press/berendsen iso 1e5 1e5 0.01 modulus 1e6"]
)
def test_questions_are_about_the_atoms_as_evaluated(potential, fix):
    """Fixes that move atoms at the end of a step do not come between forces and uncertainties."""
    script = atoms(potential) + "compute u all uq\nfix h all uq/hal tau 0\nfix n all nve\n"
    script += f"fix q all {fix}\nthermo_style custom step pe f_h[2] c_u[1]\n" + PRECISE
    values = run(script + "run 3 post no").last_thermo()
    assert values["c_u[1]"] == pytest.approx(values["f_h[2]"], rel=1e-12)


def test_questions_about_other_atoms_are_refused(model):
    """Neighbour lists of atoms that are gone answer nothing."""
    end = 'group out id 1 5\ndelete_atoms group out compress no\nprint "$(c_u[1])"'
    with pytest.raises(Exception, match=r"deleted or moved .* `run 0` first"):
        run(atoms(model) + "compute u all uq\nrun 0 post no\n" + end)


GONE = "run 0 post no\npair_style zero 5\npair_coeff * *\n"


def test_questions_when_the_pair_style_is_gone(potential, tmp_path):
    """Fix and computes outlive the pair style: they have nothing to say, or say so."""
    fix = atoms(potential) + "fix h all uq/hal tau 1\n" + GONE
    run(fix + 'print "$(f_h) $(f_h[2])" file values').close()
    assert (tmp_path / "values").read_text().split() == ["0", "0"]
    with pytest.raises(Exception, match=r"fix uq/hal needs one `pair_style uq`"):
        run(fix + "write_restart gone")
    with pytest.raises(Exception, match=r"compute uq needs one `pair_style uq`"):
        run(atoms(potential) + f'compute u all uq\n{GONE}print "$(c_u[1])"')


def test_no_atoms_and_one(model):
    """An empty box has no energy; a lone atom that of its species, and no force."""
    empty = run(atoms(model) + "delete_atoms group all\nrun 1 post no")
    assert empty.get_thermo("pe") == 0.0
    system = atoms(model) + "group rest id > 1\ndelete_atoms group rest\n"
    lone = run(system + "compute u all uq\nthermo_style custom pe c_u[*]\nrun 1 post no")
    assert np.isfinite(lone.get_thermo("pe"))
    assert np.abs(forces(lone)).max() < 1e-12
    assert lone.last_thermo()["c_u[6]"] == np.inf


SETTINGS = {
    "nsq": "neighbor 1.0 nsq",
    "multi": "neighbor 1.0 multi\ncomm_modify mode multi",
    "no skin": "neighbor 0.0 bin",
    "respa": "run_style respa 2 2 pair 2",
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_neighbor_lists_and_levels(model, setting):
    """How neighbours are found, and a multiple time step with the pair style in the outer level, change nothing."""
    end = "fix n all nve\nrun 5 post no"
    plain, other = run(atoms(model) + end), run(atoms(model) + setting + "\n" + end)
    assert other.get_thermo("etotal") == pytest.approx(plain.get_thermo("etotal"), rel=1e-10)
    shift = positions(other) - positions(plain)
    np.testing.assert_allclose(shift - 8.1 * np.round(shift / 8.1), 0.0, atol=1e-10)


def test_hybrid_scaled(model):
    """Half of the style has half its energy; the bias, which is not linear, is refused."""
    coeff = f"pair_coeff * * uq {model} Al Si\npair_coeff * * zero"
    half = atoms(model, pair="hybrid/scaled 0.5 uq 0.5 zero 4.0", coeff=coeff)
    lmp, plain = run(half + "run 0"), run(atoms(model) + "run 0")
    assert lmp.get_thermo("pe") == pytest.approx(0.5 * plain.get_thermo("pe"), rel=1e-12)
    np.testing.assert_allclose(forces(lmp), 0.5 * forces(plain), rtol=1e-12, atol=1e-12)
    with pytest.raises(Exception, match="use hybrid/overlay"):
        run(half + "fix h all uq/hal tau 1\nrun 0")


def test_minimize(model):
    """A minimisation ends where the forces vanish, biased too."""
    for bias in ("", "fix h all uq/hal tau 0.2\n"):
        lmp = run(atoms(model, rattle=0.02) + bias + "min_style fire\nminimize 0 1e-3 100 200")
        before = run(atoms(model, rattle=0.02) + bias + "run 0").get_thermo("pe")
        assert lmp.get_thermo("pe") < before


def test_no_atom_map_and_molecular_atoms(model):
    """IDs are enough; masked bits of special neighbours are no atoms."""
    plain = run(atoms(model) + "run 1 post no")
    bare = atoms(model).replace("atom_modify map yes", "")
    assert run(bare + "run 1 post no").get_thermo("pe") == plain.get_thermo("pe")
    bonded = atoms(model).replace("atom_modify map yes", "atom_style bond\natom_modify map yes")
    bonded = bonded.replace(
        "create_box 2 box",
        "create_box 2 box bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 20",
    )
    bonded = bonded.replace(
        "pair_style uq", "special_bonds lj 1 1 1 coul 0.5 0.5 0.5\nbond_style zero\npair_style uq"
    )
    bonded += "bond_coeff 1\ncreate_bonds single/bond 1 1 2\n"
    assert run(bonded + "run 1 post no").get_thermo("pe") == pytest.approx(
        plain.get_thermo("pe"), rel=1e-12
    )


def test_missing_neighbors_are_warned_of(potential, tmp_path):
    script = atoms(potential) + "group a id 1:8\n{}\nrun 0 post no\nrun 0 post no"
    warning = "left out by `neigh_modify exclude`"
    for command, times in (
        ("", 0),
        ("neigh_modify exclude group a a", 2),
        ("fix g all gcmc 1 1 0 1 7 600 -1 0.1 full_energy", 0),
    ):
        assert mpirun(1, script.format(command), tmp_path).count(warning) == times


@pytest.mark.parametrize("family", ["ace", "nep", "mtp", "one layer", "ace nep mtp"])
@pytest.mark.parametrize(
    "bias", ["", "fix h all uq/hal tau 1.0 mode local every 1000\n"], ids=["plain", "local"]
)
def test_heat_flux(families, tmp_path, family, bias):
    """What `compute heat/flux` makes of the centroid virial is d/dt of Σ r_i e_i less the convection."""
    if family == "one layer":
        model = network_file(tmp_path / "net.safetensors", layers=1)
    else:
        model = " ".join(families[name] for name in family.split())
    script = atoms(model, extra="change_box all boundary s s s", rattle=0.2) + bias
    script += "compute k all ke/atom\ncompute e all pe/atom\ncompute w all centroid/stress/atom NULL virial\n"
    script += "compute j all heat/flux k e w\nthermo_style custom step pe c_j[*] c_j[4]\n" + PRECISE
    lmp = run(script + "run 1 post no")
    n = lmp.get_natoms()
    x, f = positions(lmp), forces(lmp)
    v = np.array(lmp.gather_atoms("v", 1, 3)).reshape(n, 3)
    flux = np.array([lmp.extract_compute("j", 0, 1)[k] for k in range(6)])
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    energies = lmp.numpy.extract_compute("e", 1, 1)[:n]
    assert lmp.get_thermo("pe") == pytest.approx(energies.sum(), rel=1e-12)

    def moment(h: float) -> np.ndarray:
        """Σ r_i e_i at the velocities' future, with the r_i of now."""
        set_positions(lmp, x + h * v)
        lmp.command("run 1 post no")
        return x.T @ lmp.numpy.extract_compute("e", 1, 1)[order]

    h = 2e-5
    change = (8 * (moment(h) - moment(-h)) - (moment(2 * h) - moment(-2 * h))) / (12 * h)
    work = x.T @ (f * v).sum(axis=1)  # of the kinetic energies
    virial = flux[:3] - flux[3:]  # total less convection
    np.testing.assert_allclose(virial, change + work, rtol=1e-6, atol=1e-6 * np.abs(change).max())


def test_heat_flux_of_messages(families, tmp_path):
    """Virials of pairs do not say where an energy flows that is passed on: a warning, not a silent number."""
    script = atoms(families["network"]) + "compute k all ke/atom\ncompute e all pe/atom\n"
    script += "compute w all centroid/stress/atom NULL virial\ncompute j all heat/flux k e w\n"
    out = mpirun(1, script + "run 0 post no", tmp_path)
    assert "compute heat/flux misses" in out
