# SPDX-License-Identifier: GPL-2.0-or-later
"""Variances of the readout against naive products, for a covariance and for samples."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save
from synthetic import yace

from pyuq import _core

FUNCTIONS = (5, 20, 35)
M = 2 * sum(FUNCTIONS)


@pytest.fixture(scope="module")
def native():
    return yace(functions_per_rank=FUNCTIONS).encode()


def build(path, native, **tensors):
    metadata = {
        "format": "pyuq-posterior",
        "format_version": "1",
        "family": "ace",
        "elements": "Al Si",
        "units": "metal",
        "model_sha256": hashlib.sha256(native).hexdigest(),
    }
    path.write_bytes(save({"model": np.frombuffer(native, np.uint8)} | tensors, metadata=metadata))
    return _core.Model(path)


@pytest.fixture(scope="module", params=["covariance", "few samples", "many samples"])
def model_and_covariance(request, native, tmp_path_factory):
    rng = np.random.default_rng(7)
    mean = rng.normal(size=M)
    path = tmp_path_factory.mktemp("readout") / "model.uq"
    if request.param == "covariance":
        factor = rng.normal(size=(M, M))
        covariance = factor @ factor.T
        return build(path, native, mean=mean, covariance=covariance), covariance
    samples = mean + rng.normal(size=(7 if request.param == "few samples" else 301, M))
    deviations = samples - mean
    return build(path, native, mean=mean, samples=samples), deviations.T @ deviations / len(samples)


def test_variance(model_and_covariance):
    model, covariance = model_and_covariance
    phi = np.random.default_rng(1).normal(size=M)
    variance, product = model.variance(phi)
    assert variance == pytest.approx(phi @ covariance @ phi, rel=1e-12)
    np.testing.assert_allclose(product, covariance @ phi, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("n", [1, 5, 13, 200])
@pytest.mark.parametrize("species", [0, 1])
def test_variances_of_atoms(model_and_covariance, species, n):
    model, covariance = model_and_covariance
    offset, count = model.blocks[species]
    block = covariance[offset : offset + count, offset : offset + count]
    phi = np.random.default_rng(2).normal(size=(n, count))
    variances, products = model.variances(species, phi)
    np.testing.assert_allclose(products, phi @ block, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(variances, np.einsum("if,if->i", phi @ block, phi), rtol=1e-11)


def test_no_posterior_no_variance(native, tmp_path):
    path = tmp_path / "model.yace"
    path.write_bytes(native)
    model = _core.Model(path)
    assert not model.has_posterior
    assert model.variance(np.ones(M))[0] == 0.0
    assert not model.variances(0, np.ones((3, M // 2)))[0].any()


def test_variance_with_absent_species(model_and_covariance):
    """Features that are zero, as those of species that no atom has."""
    model, covariance = model_and_covariance
    phi = np.random.default_rng(1).normal(size=M)
    phi[M // 3 :] = 0.0
    variance, product = model.variance(phi)
    assert variance == pytest.approx(phi @ covariance @ phi, rel=1e-12)
    np.testing.assert_allclose(product, covariance @ phi, rtol=1e-11, atol=1e-10)
