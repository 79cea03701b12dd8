# SPDX-License-Identifier: GPL-2.0-or-later
"""ACE files other than pacemaker's .yace: its B-basis, radial splines of ACEpotentials.jl."""

import io
import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from synthetic import flow
from test_readers import FUZZ, check_survival, damage, load

from pyuq.evaluate.evaluator import Evaluator
from pyuq.potentials.coupling import clebsch_gordan

# Neighbours, n, l, lint of functions around A; names of neighbours are letters.
FUNCTIONS = [
    ("A", [3], [0], None),
    ("B", [1], [0], None),
    ("AB", [1, 2], [0, 0], None),
    ("BB", [1, 1], [3, 3], None),
    ("AAB", [1, 2, 1], [1, 2, 3], [3]),
    ("ABB", [2, 1, 2], [2, 2, 2], [2]),
    ("AABB", [1, 1, 1, 2], [1, 2, 2, 1], [1, 1]),
    ("ABBB", [1, 1, 1, 2], [1, 1, 2, 2], [2, 2]),
    ("AAABB", [1, 2, 1, 1, 2], [1, 1, 1, 2, 1], [2, 2, 1]),
    ("AABBBB", [1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1], [1, 2, 1, 1]),
    ("ABABABA", [1, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1, 1], [1, 2, 2, 1, 1]),
]
BOND = """nradmaxi: 2
    lmaxi: 3
    rcutij: {rcut}
    dcutij: 0.1
    nradbaseij: 3
    radbase: ChebPow
    radparameters: [2.0]
    radcoefficients: {crad}
"""


def coupled(ls, lint):
    """{(m_1, ...): coefficient}: neighbours coupled pairwise, then the results, an odd one last."""

    def total_m(state):
        return sum(m for _, m in state)

    def join(left, right, total):
        product = {}
        for a, x in left[1].items():
            for b, y in right[1].items():
                m = total_m(a), total_m(b)
                if c := clebsch_gordan(left[0], m[0], right[0], m[1], total, sum(m)):
                    product[tuple(sorted(a + b))] = x * y * c
        return total, product

    # A state is a tuple of (factor, m).
    nodes = [(l, {((t, m),): 1.0 for m in range(-l, l + 1)}) for t, l in enumerate(ls)]
    totals = iter([*lint, 0])
    odd = [nodes.pop()] if len(nodes) % 2 else []
    while len(nodes) > 1:
        nodes = [*nodes[2:], join(nodes[0], nodes[1], next(totals))]
    if nodes and odd:
        nodes = [join(nodes[0], odd[0], next(totals))]
    return {tuple(m for _, m in state): c for state, c in (nodes or odd)[0][1].items()}


@pytest.fixture
def twins(tmp_path):
    """The same potential of Al (A) and Si (B) as B-basis and as functions of products."""
    rng = np.random.default_rng(5)
    names, densities = {"A": "Al", "B": "Si"}, 2
    crads = {pair: rng.normal(size=(2, 4, 3)) for pair in ("AA", "AB", "BB")}
    rcuts = {"AA": 4.5, "AB": 4.3, "BB": 4.0}
    lists = {pair: "[" + ", ".join(f"[{', '.join(map(flow, rows))}]" for rows in crad) + "]"
             for pair, crad in crads.items()}  # fmt: skip

    def swap(letters):
        return letters.translate(str.maketrans("AB", "BA"))

    blocks = {("A",): [], ("B",): [], ("A", "B"): [], ("B", "A"): []}
    functions = {0: [], 1: []}
    for centre in "AB":
        for neighbours, ns, ls, lint in FUNCTIONS:
            around = neighbours if centre == "A" else swap(neighbours)
            c = rng.normal(size=densities)
            species = " ".join(names[x] for x in centre + around)
            extra = f", lint: {lint}" if lint else ""
            line = f"      - {{type: {species}, nr: {ns}, nl: {ls}{extra}, c: {flow(c)}}}"
            key = (centre, *sorted(set(around) - {centre}))
            blocks[key].append(line)
            products = coupled(ls, lint or [])
            flat = [m for ms in products for m in ms]
            values = np.outer(list(products.values()), c).ravel()
            functions["AB".index(centre)].append(
                f"    - {{mu0: {'AB'.index(centre)}, rank: {len(ls)}, ndensity: 2, num_ms_combs: {len(products)}, "
                f"mus: {['AB'.index(x) for x in around]}, ns: {ns}, ls: {ls}, ms_combs: {flat}, "
                f"ctildes: {flow(values)}}}"
            )
    lines = ["metadata:", '  note: "a \\"quoted\\" text"', "global:", "  DeltaSplineBins: 0.002"]
    lines.append("species:")
    for key, nbody in blocks.items():
        lines.append(f"  - speciesblock: {' '.join(names[x] for x in key)}")
        if len(key) == 1:
            lines.append("    ndensityi: 2\n    npoti: FinnisSinclairShiftedScaled")
            lines.append("    parameters: [1, 1, 0.5, 0.5]")
        if key != ("B", "A"):  # which takes over what Al Si says
            pair = (key * 2)[0] + key[-1]
            lines.append("    " + BOND.format(rcut=rcuts[pair], crad=lists[pair]).rstrip())
            lines.append("    core-repulsion: [12.0, 1.5]")
        lines += ["    nbody:", *nbody]
    bbasis = tmp_path / "model.yaml"
    bbasis.write_text("\n".join(lines) + "\n")

    embedding = "{ndensity: 2, FS_parameters: [1, 1, 0.5, 0.5], npoti: FinnisSinclairShiftedScaled}"
    lines = ["elements: [Al, Si]", f"embeddings: {{0: {embedding}, 1: {embedding}}}", "bonds:"]
    for i in range(2):
        for j in range(2):
            pair = "".join(sorted("AB"[i] + "AB"[j]))
            lines.append(
                f"  [{i}, {j}]: {{nradmax: 2, lmax: 3, nradbasemax: 3, radbasename: ChebPow, radparameters: [2.0], "
                f"radcoefficients: {lists[pair]}, prehc: 12.0, lambdahc: 1.5, rcut: {rcuts[pair]}, dcut: 0.1}}"
            )
    lines.append("functions:")
    for i in range(2):
        lines += [f"  {i}:", *functions[i]]
    products = tmp_path / "model.yace"
    products.write_text("\n".join(lines) + "\n")
    return bbasis, products


def test_bbasis_equals_its_coupled_products(twins, crystal):
    evaluators = [Evaluator(path) for path in twins]
    atoms = crystal(["Al", "Si"])
    a, b = (e.compute(atoms) for e in evaluators)
    assert abs(b["energy"]) > 1.0
    np.testing.assert_allclose(a["energies"], b["energies"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        a["forces"], b["forces"], rtol=0, atol=1e-11 * np.abs(b["forces"]).max()
    )
    features = [e.features(atoms) for e in evaluators]
    np.testing.assert_allclose(*features, rtol=1e-10, atol=1e-10)


def test_bbasis_is_invariant(twins, crystal):
    evaluator = Evaluator(twins[0])
    atoms = crystal(["Al", "Si"])
    energy = evaluator.compute(atoms)["energy"]
    for axis in np.random.default_rng(0).normal(size=(3, 3)):
        atoms.rotate(77.0, axis, rotate_cell=True)
        assert evaluator.compute(atoms)["energy"] == pytest.approx(energy, rel=1e-12)


def test_skipped_functions_and_single_coefficients(twins, tmp_path):
    text = twins[0].read_text()
    before = load(tmp_path, text).nreadout
    assert load(tmp_path, text.replace("c: [", "skip: true, c: [", 1)).nreadout == before - 1
    one = text.replace("ndensityi: 2", "ndensityi: 1")
    one = re.sub(r" c: \[([^,]*), [^\]]*\]", r" c: \1", one)
    assert load(tmp_path, one).nreadout == before - 2  # that of each element's square root


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("nl: [3, 3]", "nl: [3, 2]", "nl and lint do not couple to an invariant"),
        ("lint: [3]", "lint: [4]", "nl and lint do not couple to an invariant"),
        ("lint: [3]", "lint: [3, 1]", "lint has 2 entries, expected 1 for 3 neighbours"),
        (", lint: [3]", "", "lint has 0 entries, expected 1"),
        ("type: Al Si,", "type: Al Xx,", "the element 'Xx', which no speciesblock names"),
        ("nr: [1, 1], nl: [3, 3]", "nr: [1], nl: [3, 3]", "nr, nl have 1, 2 entries, expected 2"),
        ("c: [", "c: [1.0, ", "found 3 coefficients, expected one for each density, 2"),
        ("ndensityi: 2", "ndensityi: 65", "expected an integer between 1 and 64"),
        ("radbase: ChebPow", "radbase: ACE.jl", "is not one of a B-basis"),
        ("speciesblock: Si\n", "speciesblock: Si Si\n", None),
        ("speciesblock: Si\n", "speciesblock: Al\n", "appears twice"),
        ("speciesblock: Al Si\n", "speciesblock: Al Si Cu\n", "a speciesblock for Cu is missing"),
        ("speciesblock: Al\n", "speciesblock: Al\n    r_in: 1\n    inner_cutoff_type: zbl\n",
         "different inner_cutoff_type"),
        ("nl: [3, 3]", "nl: [24, 24]", "which bond Al-Si does not have"),
    ],
)  # fmt: skip
def test_faults_of_a_bbasis_are_named(twins, tmp_path, old, new, message):
    text = twins[0].read_text()
    assert old in text
    text = text.replace(old, new, 1)
    if message is None:
        load(tmp_path, text)
        return
    with pytest.raises(RuntimeError, match=message) as error:
        load(tmp_path, text)
    assert re.match(rf"{re.escape(str(tmp_path))}/model\.yace:\d+: ", str(error.value))


def test_coupling_beyond_reason_is_refused(twins, tmp_path):
    """The work must not grow without bound with the momenta that a short line asks for."""
    text = twins[0].read_text().replace(
        "nl: [1, 0, 1, 1, 1, 1, 1], lint: [1, 2, 2, 1, 1]", f"nl: {[24] * 7}, lint: {[0] * 4 + [24]}"
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="too many products"):
        load(tmp_path, text)


# ---------------------------------------------------------------------- radial splines

RCUT, NBINS = 5.0, 40
# Cubic polynomials, which cubic splines reproduce.
RADIAL = [np.polynomial.Polynomial([1, -1]) ** 3, np.polynomial.Polynomial([0, 1, -2, 1])]


def splined(radial=RADIAL):
    """Text of a file of ACEpotentials.jl: one element, by default g_0 = (1 - r/R)³, g_1 = r/R (1 - r/R)²."""
    x = np.linspace(0, 1, NBINS + 1)
    values = [flow(p(x)) for p in radial]
    slopes = [flow(p.deriv()(x) / RCUT) for p in radial]
    return f"""elements: [Si]
E0: [-1.5]
embeddings:
  0: {{ndensity: 1, FS_parameters: [1.0, 1.0], npoti: FinnisSinclairShiftedScaled,
      rho_core_cutoff: 100000.0, drho_core_cutoff: 1.0}}
bonds:
  [0, 0]:
    radbasename: ACE.jl
    rcut: {RCUT}
    nradial: 2
    nbins: {NBINS}
    splinenodalvals:
      0: {values[0]}
      1: {values[1]}
    splinenodalderivs:
      0: {slopes[0]}
      1: {slopes[1]}
functions:
  0:
    - {{mu0: 0, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [2], ls: [0], ms_combs: [0], ctildes: [0.7]}}
    - {{mu0: 0, rank: 2, ndensity: 1, num_ms_combs: 1, mus: [0, 0], ns: [1, 2], ls: [1, 1], ms_combs: [0, 0],
       ctildes: [0.4]}}
lmax: 1
"""


def test_radial_splines(tmp_path):
    (tmp_path / "splined.yace").write_text(splined())
    evaluator = Evaluator(tmp_path / "splined.yace")
    rng = np.random.default_rng(3)
    atoms = Atoms("Si6", positions=rng.uniform(0, 3.5, (6, 3)), cell=[20] * 3, pbc=True)
    v = atoms.get_all_distances(vector=True)
    r = np.linalg.norm(v, axis=2)
    pairs = (r > 0) & (r < RCUT)
    g = [np.where(pairs, p(r / RCUT), 0.0) for p in RADIAL]
    a = [(f * np.sqrt(3) * v[..., 2] / np.where(pairs, r, 1.0)).sum(1) for f in g]
    expected = -1.5 + 0.7 * g[1].sum(1) + 0.4 * a[0] * a[1]
    np.testing.assert_allclose(evaluator.compute(atoms)["energies"], expected, rtol=1e-13)
    forces = evaluator.compute(atoms)["forces"]
    step, trial = 1e-5, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[2, 1] += sign * step
        trial.append(evaluator.compute(moved)["energy"])
    assert forces[2, 1] == pytest.approx((trial[1] - trial[0]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("nbins: 40", "nbins: 41", "found 41 numbers, expected nbins \\+ 1 = 42"),
        ("nbins: 40", "nbins: 1000000", "found 41 numbers"),
        ("nradial: 2", "nradial: 3", "the key '2' is missing"),
        ("lmax: 1", "lmax: 0", "which bond Si-Si does not have"),
        ("rcut: 5.0", "rcut: 0", "rcut = 0"),
    ],
)
def test_faults_of_radial_splines_are_named(tmp_path, old, new, message):
    assert old in splined()
    with pytest.raises(RuntimeError, match=message):
        load(tmp_path, splined().replace(old, new))


SMALL_BBASIS = f"""global:
  DeltaSplineBins: 0.01
species:
  - speciesblock: Si
    ndensityi: 1
    npoti: FinnisSinclair
    parameters: [1, 0.5]
    {BOND.format(rcut=4.0, crad=[[[0.5, 0.1, 0.2]] * 4] * 2).rstrip()}
    core-repulsion: [10, 2]
    nbody:
      - {{type: Si Si, nr: [1], nl: [0], c: [0.4]}}
      - {{type: Si Si Si Si, nr: [1, 1, 2], nl: [1, 1, 2], lint: [2], c: [0.1]}}
"""


def energy(path):
    atoms = Atoms("Si3", positions=[[0, 0, 0], [1.9, 0.4, 0.2], [-0.3, 2.1, 1.1]])
    return Evaluator(path).compute(atoms)["energy"]


def test_flat_radial_coefficients(tmp_path):
    """Early files have one list in the order k, n, l; later ones [n][l][k]."""
    crad = np.random.default_rng(3).normal(size=(2, 4, 3)).round(6)  # [n][l][k]
    flat = crad.transpose(2, 0, 1).ravel().tolist()
    default = str([[[0.5, 0.1, 0.2]] * 4] * 2)
    assert default in SMALL_BBASIS
    for name, value in (("nested", crad.tolist()), ("flat", flat)):
        (tmp_path / f"{name}.yaml").write_text(SMALL_BBASIS.replace(default, str(value)))
    assert energy(tmp_path / "flat.yaml") == energy(tmp_path / "nested.yaml")
    (tmp_path / "short.yaml").write_text(SMALL_BBASIS.replace(default, str(flat[:-1])))
    with pytest.raises(
        RuntimeError, match=r"short\.yaml:\d+: radcoefficients has 23 numbers, .* = 24"
    ):
        Evaluator(tmp_path / "short.yaml")


# ---------------------------------------------------------------------- active sets of pacemaker


def asi_bytes(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def with_active_set(tmp_path):
    """A B-basis of several ranks, its active set in the reference's order of functions, and that order."""
    functions = [
        ("Si Si Si", [2, 1], [1, 1], None),
        ("Si Si", [2], [0], None),
        ("Si Si Si", [1, 1], [0, 0], None),
        ("Si Si", [1], [0], None),
        ("Si Si Si Si", [1, 1, 2], [1, 1, 2], [2]),
        ("Si Si Si Si", [1, 1, 1], [0, 1, 1], [1]),
    ]
    order = [3, 1, 2, 0, 5, 4]  # rank, then n, then l
    nbody = "".join(
        f"      - {{type: {type_}, nr: {n}, nl: {l}"
        + (f", lint: {lint}" if lint else "")
        + f", c: [{0.3 + 0.1 * k}, {-0.2 * k}]}}\n"
        for k, (type_, n, l, lint) in enumerate(functions)
    )
    head, _ = SMALL_BBASIS.split("    nbody:\n")
    text = head.replace("ndensityi: 1", "ndensityi: 2").replace("[1, 0.5]", "[1, 1, 0.4, 0.5]")
    inverse = np.random.default_rng(8).normal(size=(6, 6))
    (tmp_path / "si.yaml").write_text(f"{text}    nbody:\n{nbody}")
    (tmp_path / "si.asi").write_bytes(asi_bytes(Si=inverse))
    # The projections: the functions with coefficient 1 and one linear density.
    single = head.replace("[1, 0.5]", "[1, 1]").replace(
        "core-repulsion: [10, 2]", "core-repulsion: [0, 2]"
    )
    bare = re.sub(r"c: \[.*?\]", "c: [1]", nbody)
    (tmp_path / "bare.yaml").write_text(f"{single}    nbody:\n{bare}")
    return tmp_path, inverse, order


def test_grades_of_an_active_set(with_active_set):
    """γ = max |B A⁻¹| of the functions without coefficients, whatever densities and repulsion do with them."""
    folder, inverse, order = with_active_set
    atoms = Atoms("Si3", positions=[[0, 0, 0], [1.9, 0.4, 0.2], [-0.3, 2.1, 1.1]])
    evaluator, bare = Evaluator(folder / "si.yaml"), Evaluator(folder / "bare.yaml")
    assert evaluator.model.has_grades and not bare.model.has_grades
    grades = evaluator.model.grades(evaluator.neighbors(atoms)[0])[:3]
    projections = bare.features(atoms)[:, order]
    np.testing.assert_allclose(grades, np.abs(projections @ inverse).max(1), rtol=1e-12)


def test_active_set_is_that_of_the_yaml(with_active_set):
    """Of other formats, which do not have the functions of the B-basis, the file beside is not read."""
    folder, _, _ = with_active_set
    (folder / "si.yace").write_text(splined())
    assert not Evaluator(folder / "si.yace").model.has_grades


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a, b: asi_bytes(Si=a[:5, :5]), "the active set of Si is 5 x 5, expected 6 x 6"),
        (lambda a, b: asi_bytes(Si=np.eye(12)), "full non-linear energy, which pyuq does not"),
        (lambda a, b: asi_bytes(Al=a), "it has no array Si, an element of"),
        (lambda a, b: asi_bytes(Si=a.astype(np.float32)), "type ''<f4'', expected '<f8'"),
        (lambda a, b: asi_bytes(Si=a * np.inf), "holds a number that is not finite"),
        (lambda a, b: b[:-30], "no zip directory"),
        (lambda a, b: b[:200] + bytes([b[200] ^ 1]) + b[201:], "does not have the checksum"),
        (lambda a, b: b"", "no zip directory"),
    ],
)
def test_faults_of_active_sets_are_named(with_active_set, change, message):
    folder, inverse, _ = with_active_set
    path = folder / "si.asi"
    path.write_bytes(change(inverse, path.read_bytes()))
    with pytest.raises(RuntimeError, match=rf"si\.asi: .*{message}"):
        Evaluator(folder / "si.yaml")


def test_compressed_active_sets_are_refused(with_active_set):
    folder, inverse, _ = with_active_set
    with (folder / "si.asi").open("wb") as file:
        np.savez_compressed(file, Si=inverse)
    with pytest.raises(RuntimeError, match=r"'Si\.npy' is compressed; expected it as numpy"):
        Evaluator(folder / "si.yaml")


def test_rows_and_columns_of_an_active_set(with_active_set):
    """numpy writes either order; both are the same matrix."""
    folder, inverse, _ = with_active_set
    atoms = Atoms("Si2", positions=[[0, 0, 0], [1.9, 0.4, 0.2]])
    grades = []
    for matrix in (inverse, np.asfortranarray(inverse)):
        (folder / "si.asi").write_bytes(asi_bytes(Si=matrix))
        evaluator = Evaluator(folder / "si.yaml")
        grades.append(evaluator.model.grades(evaluator.neighbors(atoms)[0]))
    np.testing.assert_array_equal(*grades)


ASI = asi_bytes(Si=np.random.default_rng(8).normal(size=(2, 2)))


@FUZZ
@given(data=damage(ASI))
def test_damaged_active_set(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged_asi.yaml"
    path.write_text(SMALL_BBASIS)
    path.with_suffix(".asi").write_bytes(data)
    try:
        evaluator = Evaluator(path)
    except RuntimeError as error:
        assert "damaged_asi" in str(error)
    else:  # what was damaged is no number: names in the archive and dates stand there twice
        grades = evaluator.model.grades(evaluator.neighbors(dimer(2.0))[0])
        path.with_suffix(".asi").write_bytes(ASI)
        evaluator = Evaluator(path)
        whole = evaluator.model.grades(evaluator.neighbors(dimer(2.0))[0])
        np.testing.assert_array_equal(grades, whole)


# ---------------------------------------------------------------------- functions that do not vanish at the cutoff


def dimer(distance):
    return Atoms("Si2", positions=[[0, 0, 0], [0, 0, distance]])


@pytest.mark.parametrize("mode", [None, True, False])
def test_cheblinear_is_continuous_unless_asked(tmp_path, mode):
    """The reference's splines take it to zero within the last bin; the functions themselves jump."""
    path = tmp_path / "linear.yaml"
    path.write_text(SMALL_BBASIS.replace("ChebPow", "ChebLinear"))
    with pytest.warns(UserWarning, match=r"linear\.yaml: radial functions of Si-Si do not vanish"):
        evaluator = Evaluator(path, radial_spline=mode)
    below, beyond = (evaluator.compute(dimer(4.0 + d))["energy"] for d in (-1e-9, 1e-9))
    if mode is False:
        assert abs(below - beyond) > 0.05
    else:
        assert below == pytest.approx(beyond, abs=1e-9)


def test_splines_that_end_above_zero(tmp_path):
    """A table of ACEpotentials.jl whose last node is not zero jumps, whatever the mode."""
    path = tmp_path / "table.yace"
    path.write_text(splined([RADIAL[0] + 0.1, RADIAL[1]]))
    with pytest.warns(
        UserWarning, match=r"table\.yace: the splines of Si-Si in the file do not vanish"
    ):
        Evaluator(path)
    path.write_text(splined())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Evaluator(path)


@FUZZ
@given(data=damage(SMALL_BBASIS.encode()))
def test_damaged_bbasis(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_bbasis.yaml", data)


@FUZZ
@given(data=damage(splined().encode()))
def test_damaged_splines(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_splines.yace", data)
