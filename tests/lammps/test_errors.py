# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input ends in one or two lines that say what was wrong and how to mend it."""

import shutil

import pytest
from crystal import atoms, run

from pyuq.evaluate.calculator import UQCalculator

PAIR = {
    "unknown element": (
        "uq",
        "pair_coeff * * {p} Al Cu",
        "element Cu of atom type 2 is not in .*Al Si",
    ),
    "missing file": ("uq", "pair_coeff * * nowhere.yace Al Si", "nowhere.yace"),
    "too few arguments": ("uq", "pair_coeff * * {p} Al", "pair_coeff .* 2 elements"),
    "not star star": ("uq", "pair_coeff 1 1 {p} Al Si", r"must start with \* \*"),
    "too many elements": ("uq", "pair_coeff * * {p} Al Si Si", "no file Al; the last 2 argument"),
    "file as element": (
        "uq",
        "pair_coeff * * {p} {p} Al",
        "element .*uq of .* the last 2 argument",
    ),
    "driver of no model": ("uq driver 3", "pair_coeff * * {p} Al Si", "driver is 3, .* 1 model"),
    "driver no number": ("uq driver 0", "pair_coeff * * {p} Al Si", "driver is 0"),
    "every without driver": ("uq every 5", "pair_coeff * * {p} Al Si", "every 5 needs `driver K`"),
    "every zero": ("uq driver 1 every 0", "pair_coeff * * {p} Al Si", "every is 0"),
    "unknown keyword": ("uq fast yes", "pair_coeff * * {p} Al Si", "unknown keyword fast"),
    "keyword without value": ("uq radial", "pair_coeff * * {p} Al Si", "radial lacks its value"),
    "cutoff": ("uq 5.0", "pair_coeff * * {p} Al Si", "unknown keyword 5.0, expected one of driver"),
    "no number": (
        "uq eps wide",
        "pair_coeff * * {p} Al Si",
        "eps is wide, expected a number above",
    ),
    "no finite number": ("uq eps 1e400", "pair_coeff * * {p} Al Si", "eps is 1e400, expected"),
    "bad radial": ("uq radial table", "pair_coeff * * {p} Al Si", "radial is table"),
    "null without hybrid": (
        "uq",
        "pair_coeff * * {p} Al NULL\nrun 0",
        "All pair coeffs are not set",
    ),
}


@pytest.mark.parametrize(("style", "coeff", "message"), PAIR.values(), ids=PAIR)
def test_pair(potential, style, coeff, message):
    with pytest.raises(Exception, match=message) as info:
        run(atoms(potential, pair=style, coeff=coeff.format(p=potential)))
    assert len(str(info.value)) < 600


def test_names_that_contradict_the_file(families):
    """Names behind the colon are for files that store none; those of others must be repeated as they are."""
    message = "its species are Al Si, not Si Al: leave the names behind the colon out"
    for family in ("nep", "mtp"):
        with pytest.raises(Exception, match=message):
            run(atoms(f"{families[family]}:Si,Al"))
        with pytest.raises(RuntimeError, match=message):
            UQCalculator(f"{families[family]}:Si,Al")
        run(atoms(f"{families[family]}:Al,Si"))


FIX = {
    "no strength": ("fix h all uq/hal", "give either"),
    "two strengths": ("fix h all uq/hal tau 1 tau_rel 1", "give either"),
    "negative": ("fix h all uq/hal tau -1", "tau is -1, expected"),
    "zero window": ("fix h all uq/hal tau_rel 0.2 window 0", "window is 0, expected"),
    "no number": ("fix h all uq/hal tau x", "fix uq/hal: tau is x, expected a number of 0 or more"),
    "nan": ("fix h all uq/hal tau nan", "tau is nan, expected"),
    "infinite": ("fix h all uq/hal tau 1 cap 1e999", "cap is 1e999, expected a number above 0"),
    "fraction": (
        "fix h all uq/hal tau 1 every 2.5",
        "every is 2.5, expected a whole number from 1",
    ),
    "too large": ("fix h all uq/hal tau 1 every 99999999999", "every is 99999999999, expected"),
    "bad mode": ("fix h all uq/hal tau 1 mode both", "mode is both"),
    "unknown keyword": ("fix h all uq/hal tau 1 speed 2", "unknown keyword speed"),
    "unknown keyword, negative": (
        "fix h all uq/hal tau 1 speed -2",
        "unknown keyword speed, expected",
    ),
    "no value": ("fix h all uq/hal tau", "tau lacks its value"),
    "group": ("group some id 1\nfix h some uq/hal tau 1", "group must be `all`"),
    "two fixes": ("fix h all uq/hal tau 1\nfix g all uq/hal tau 1\nrun 0", "two fixes uq/hal"),
    "energy no": (
        "fix h all uq/hal tau 1\nfix_modify h energy no\nrun 0",
        "compute ID all pe pair",
    ),
    "virial no": ("fix h all uq/hal tau 1\nfix_modify h virial no\nrun 0", "virial no"),
    "no forces": (
        "fix h all uq/hal tau 1\npair_modify compute no\nrun 0",
        "pair_modify compute no",
    ),
    "respa": ("fix h all uq/hal tau 1\nrun_style respa 2 2\nrun 0", "respa"),
    "deviation without N": ("fix d all uq/deviation", "expected `N keyword"),
    "deviation N": ("fix d all uq/deviation 0", "N is 0, expected"),
    "deviation text": ("fix d all uq/deviation often", "N is often, expected a whole number"),
    "deviation seed": (
        "fix d all uq/deviation 5 draws 4 x",
        "draws is x, expected a number of draws",
    ),
    "deviation keyword": ("fix d all uq/deviation 5 width 2", "unknown keyword width"),
    "deviation threshold": ("fix d all uq/deviation 5 threshold -1", "threshold is -1"),
    "deviation draws": ("fix d all uq/deviation 5 draws 0 1", "draws is 0, expected"),
    "compute uq": ("compute u all uq width 2", "compute uq"),
    "compute uq eps": ("compute u all uq eps 0", "compute uq: eps is 0, expected a number above 0"),
    "compute uq eps without value": ("compute u all uq eps", "eps lacks its value"),
    "compute uq/atom": ("compute u all uq/atom", "name one or more"),
    "compute uq/atom keyword": ("compute u all uq/atom pressure", "unknown keyword pressure"),
}


@pytest.mark.parametrize(("command", "message"), FIX.values(), ids=FIX)
def test_fix_and_computes(potential, command, message):
    with pytest.raises(Exception, match=message):
        run(atoms(potential) + command)


def test_newton(potential):
    with pytest.raises(Exception, match="newton on"):
        run("newton off\n" + atoms(potential) + "run 0")


def test_atom_ids(potential):
    script = atoms(potential).replace("atom_modify map yes", "atom_modify id no")
    with pytest.raises(Exception, match="requires atom IDs"):
        run(script.replace("velocity all create 600 4", "") + "run 0")


@pytest.mark.parametrize("units", ["lj", "si", "electron"])
def test_units(potential, units):
    with pytest.raises(Exception, match=f"`units {units}`.*metal"):
        run(atoms(potential, units=units))


def test_no_posterior(potential, tmp_path):
    bare = tmp_path / "bare.yace"
    shutil.copy(potential.with_suffix(".yace"), bare)
    run(atoms(bare) + "run 0")
    with pytest.raises(Exception, match="no posterior"):
        run(atoms(bare) + "fix h all uq/hal tau 1\nrun 0")
    with pytest.raises(Exception, match="no posterior"):
        run(atoms(bare) + "compute u all uq\nthermo_style custom c_u[1]\nrun 0")


def test_mismatched_posterior(potential, tmp_path):
    """A posterior beside a model that it was not made for."""
    changed = tmp_path / "alsi.yace"
    changed.write_text(potential.with_suffix(".yace").read_text() + "\n# edited\n")
    shutil.copy(potential, tmp_path / "alsi.uq")
    with pytest.raises(Exception, match="alsi"):
        run(atoms(changed))


def test_truncated_posterior(potential, tmp_path):
    cut = tmp_path / "cut.uq"
    cut.write_bytes(potential.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"cut\.uq"):
        run(atoms(cut))


def test_no_pair_style():
    for command in ("fix h all uq/hal tau 1", "compute u all uq", "compute a all uq/atom energy"):
        with pytest.raises(Exception, match="needs one `pair_style uq`"):
            run(f"region b block 0 1 0 1 0 1\ncreate_box 1 b\n{command}")
