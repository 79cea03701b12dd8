# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the LAMMPS tests."""

import os
from pathlib import Path

import pytest
from crystal import family_files, posterior_file


@pytest.fixture(scope="session")
def potential(tmp_path_factory) -> Path:
    """NAME.uq of a random Al-Si potential with an exact covariance; NAME.yace lies beside it."""
    return posterior_file(tmp_path_factory.mktemp("potential"), "alsi")


@pytest.fixture(scope="session")
def families(tmp_path_factory) -> dict[str, str]:
    """Files of one model of each family and of a committee of all, as pair_coeff names them."""
    return family_files(tmp_path_factory.mktemp("families"))


@pytest.fixture(params=["ace", "nep", "mtp", "network", "committee"])
def model(request, families) -> str:
    """The files of a model of each family in turn."""
    return families[request.param]


@pytest.fixture(autouse=True)
def in_scratch(tmp_path, monkeypatch):
    """LAMMPS writes where it stands."""
    monkeypatch.chdir(tmp_path)
    yield
    assert os.getcwd() == str(tmp_path)
