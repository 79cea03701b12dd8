# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of somebody else run no code by surprise, and none that nobody can mean."""

import dataclasses
import tomllib
import typing
from pathlib import Path

import pytest

from pyuq import systems
from pyuq.cli import main
from pyuq.errors import InputError
from pyuq.hal.loop import require_trusted
from pyuq.hal.settings import Settings as HalSettings
from pyuq.hal.settings import load_settings
from pyuq.plausible import QUANTITIES
from pyuq.potentials.families import FAMILIES
from pyuq.settings import assign, from_table
from pyuq.srom.settings import Settings as SromSettings
from pyuq.trust import code_in_calculator, code_in_commands, origin_of_module
from pyuq.verbs.run_fit import FitFile

ROOT = Path(__file__).parents[1]

HAL = """
[start]
structures = ["start.extxyz"]
[labels]
kind = "lammps"
commands = ["pair_style lj/cut 7.0", "pair_coeff * * 0.008 3.4"]
[basis]
elements = ["Ar"]
cutoff = 7.0
[md]
temperature = 100.0
"""

SROM = """
[start]
structure = "a.xyz"
elements = ["Ar"]
[[models]]
label = "a"
commands = ["pair_style lj/cut 7.0"]
[sampler]
kind = "npm"
[md]
temperatures = [300.0]
[basis]
modes = 6
[diffusion]
species = "Ar"
"""


@pytest.mark.parametrize(
    "command",
    [
        "shell touch victim",
        '  shell "touch victim"',
        "pair_style zero 3.0\nshell touch victim",
        "she&\nll touch victim",
        'if "1 > 0" then "shell touch victim"',
        "if '1 > 0' then 'shell touch victim'",
        'run 1 every 1 "shell touch victim"',
        "variable a string shell\n${a} touch victim",
        "variable a string shell\n$a touch victim",
        "$(0:shell touch victim %g)",
        "python f here 'import os'",
        "fix x all python/invoke 10 end_of_step f",
        "pair_style mliap unified model.pt",
        "plugin load evil.so",
        'print "evil" append .bashrc',
        'fix x all print 1 "evil" file .bashrc',
        "include ${here}/evil.in",
        "include ${here}/nested.in",
        "include missing.in",
        "include $a",
        "jump SELF",
        "if \u201c1\u201d then \u201cshell touch victim\u201d",
    ],
)
def test_commands_that_run_code_are_found(tmp_path, command):
    (tmp_path / "evil.in").write_text("pair_style zero 3.0\nshell touch victim\n")
    (tmp_path / "nested.in").write_text(f"include {tmp_path / 'evil.in'}\n")
    assert list(code_in_commands([command], None, tmp_path))


@pytest.mark.parametrize(
    "command",
    [
        *systems.reference_commands(),
        "pair_style eam/alloy",
        'pair_coeff * * "${here}/AgI.eam" Ag I',
        "pair_coeff * * shell.eam python3.eam file.eam Ag I",
        "fix heat all langevin 300 300 $(100*dt) 1",
        "# shell touch victim",
        "include ${here}/good.in",
        "include ${here}/missing.in",
    ],
)
def test_commands_that_only_compute_are_not(tmp_path, command):
    (tmp_path / "good.in").write_text("pair_style zero 3.0 # plain\n")
    assert not list(code_in_commands([command], None, tmp_path))


@pytest.mark.parametrize("name", ["plain", "a$b"])
def test_a_folder_of_any_name_beside_the_study(tmp_path, name):
    """What is put in place of ${here} is known, whatever stands in it."""
    here = tmp_path / name
    here.mkdir()
    (here / "good.in").write_text("pair_style zero 3.0\n")
    (here / "evil.in").write_text("shell touch victim\n")
    assert not list(code_in_commands(["include ${here}/good.in"], None, here))
    assert list(code_in_commands(["include ${here}/evil.in"], None, here))


def test_here_is_a_variable_where_nothing_is_put_in_its_place(tmp_path):
    """Commands of a loop go to LAMMPS as they are: it would include sub/x.in, and not x.in."""
    (tmp_path / "x.in").write_text("pair_style zero 3.0\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.in").write_text("shell touch victim\n")
    commands = ["variable here string sub", "include ${here}/x.in"]
    assert list(code_in_commands(commands, tmp_path, None))
    path = tmp_path / "hal.toml"
    path.write_text(HAL)
    for key in ("labels", "md"):
        settings = load_settings(path, [f"{key}.commands={commands}"])
        with pytest.raises(InputError, match=r"hal.toml runs code: 'include \${here}/x.in'"):
            require_trusted(settings, path, False)


def test_examples_need_no_trust():
    for path in ROOT.glob("examples/**/*.toml"):
        table = tomllib.loads(path.read_text())
        commands = [
            *table.get("labels", {}).get("commands", ()),
            *table.get("md", {}).get("commands", ()),
        ]
        for model in table.get("models", ()):
            commands += model.get("commands", ())
        assert not list(code_in_commands(commands, path.parent, path.parent)), path


@pytest.mark.parametrize(
    "change",
    [
        'labels={kind="ase", calculator="os:system"}',
        'labels={kind="ase", calculator="beside:Calculator"}',
        'labels={kind="lammps", commands=["shell touch victim"]}',
        'md.commands=["shell touch victim"]',
    ],
)
def test_a_loop_refuses_code(tmp_path, monkeypatch, capsys, change):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hal.toml").write_text(HAL)
    (tmp_path / "beside.py").write_text("open('victim', 'w')")
    assert main(["hal", "run", "hal.toml", "--set", change]) == 2
    error = capsys.readouterr().err
    assert "hal.toml runs code: " in error
    assert "--trust" in error
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "victim").exists()
    # There is no start structure.
    assert main(["hal", "run", "hal.toml", "--set", change, "--trust"]) == 2
    assert "runs code" not in capsys.readouterr().err


def test_a_study_refuses_code(tmp_path, capsys):
    path = tmp_path / "srom.toml"
    path.write_text(SROM.replace("pair_style lj/cut 7.0", "shell touch victim"))
    for action in ("snapshots", "all"):
        assert main(["srom", action, str(path)]) == 2
        assert "'shell touch victim' has the word shell" in capsys.readouterr().err
    assert main(["srom", "snapshots", str(path), "--trust"]) == 2
    assert "a.xyz" in capsys.readouterr().err


def test_modules_that_anybody_may_write_are_refused(tmp_path):
    module = tmp_path / "mine.py"
    module.write_text("")
    assert origin_of_module("mine:Calculator", tmp_path) == str(module)
    module.chmod(0o666)
    with pytest.raises(ValueError, match=r"mine\.py: anybody may write there"):
        origin_of_module("mine:Calculator", tmp_path)
    module.chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(ValueError, match="anybody may write there"):
        origin_of_module("mine:Calculator", tmp_path)
    assert origin_of_module("json:loads", tmp_path).endswith("json/__init__.py")
    assert list(code_in_calculator("ase.calculators.vasp:Vasp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("md.timestep=2", "timestep = 2 ps; expected 1e-06 to 0.05 ps (2 fs are 0.002 ps)"),
        ("md.timestep=0.5", "timestep = 0.5 ps"),
        ("md.thermostat_damp=100", "thermostat_damp = 100 ps"),
        ("md.barostat_damp=1000", "barostat_damp = 1000 ps"),
        ("md.temperature=0.06", "temperature = 0.06 K"),
        ("md.temperature=[300, 1e6]", "temperature[1] = 1e+06 K"),
        ("md.pressure=10000", "pressure = 10000 GPa"),
        ("stop.energy_error=5", "energy_error = 5 eV/atom"),
        ("stop.force_error=100", "force_error = 100 eV/Å"),
        ("stop.force_error={Ar=100}", "force_error.Ar = 100 eV/Å"),
        ("weights.energy=100", "energy = 100 eV/atom"),
        ("basis.cutoff=0.6", "cutoff = 0.6 Å; expected 1 to 30 Å (0.6 nm are 6 Å)"),
        ("labels.masses={Ar=0.0399}", "masses: Ar has mass 0.0399, expected about 39.948"),
        ("labels.charges={Ar=96485}", "charges.Ar = 96485 e"),
        ("start.overrides=[{structure=0, pressure=1e5}]", "pressure = 100000 GPa"),
        ("one_body={Ar=-1e9}", "one_body.Ar = -1e+09 eV"),
    ],
)
def test_values_that_nobody_can_mean_are_refused(tmp_path, change, message):
    path = tmp_path / "hal.toml"
    path.write_text(HAL)
    load_settings(path)
    with pytest.raises(ValueError) as caught:
        load_settings(path, [change])
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("md.timestep=2.0", "timestep = 2 ps"),
        ("md.damp=100.0", "damp = 100 ps"),
        (
            "start.masses={Ar=0.0399}",
            r"masses.Ar = 0.0399 g/mol; expected 0.5 to 500 g/mol \(1 g/mol",
        ),
    ],
)
def test_values_of_a_study(change, message):
    table = tomllib.loads(SROM)
    assign(table, [change])
    with pytest.raises(ValueError, match=message):
        from_table(SromSettings, table, "srom.toml")


# Numbers without a unit.
PURE = {
    "tau_rel", "cap", "bound", "threshold", "grade", "confidence", "memory", "max_temperature", "redundancy",
    "smoothness", "concentration", "spread", "degree", "n_weight", "l_weight", "radial_parameter", "species_weights",
    "prior", "learning_rate", "volume",
}  # fmt: skip


def test_every_key_with_a_unit_has_a_range():
    classes, todo = set(), [HalSettings, SromSettings, FitFile, *FAMILIES.values()]
    try:
        from pyuq.bnn.run import Settings as NetworkSettings

        todo.append(NetworkSettings)
    except ImportError:  # no torch
        pass
    while todo:
        cls = todo.pop()
        if cls in classes:
            continue
        classes.add(cls)
        hints = typing.get_type_hints(cls)
        for key in dataclasses.fields(cls):
            if not key.metadata.get("setting", True):
                continue
            hint = hints[key.name]
            todo += [h for h in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(h)]
            if "float" in str(hint) and key.name not in PURE:
                assert key.name in QUANTITIES[cls.__name__], f"{cls.__name__}.{key.name}"
