# SPDX-License-Identifier: GPL-2.0-or-later
"""Variances of the readout against naive products, for a covariance and for samples."""

import hashlib

import numpy as np
import pytest
from naive_nep import nep_text
from safetensors.numpy import save
from synthetic import yace

from pyuq import _core

FUNCTIONS = (5, 20, 35)
M = 2 * sum(FUNCTIONS)


METADATA = {
    "format": "pyuq-posterior",
    "format_version": "1",
    "family": "ace",
    "elements": "Al Si",
    "units": "metal",
}


@pytest.fixture(scope="module")
def native():
    return yace(functions_per_rank=FUNCTIONS).encode()


def build(path, native, **tensors):
    metadata = METADATA | {"model_sha256": hashlib.sha256(native).hexdigest()}
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


# ---------------------------------------------------------------------- blocks of the species that occur


def build_wide(folder, kind):
    """A NEP of twelve elements with a posterior, as those of NEP89 have 89; its covariance or samples."""
    elements = ("H", "C", "N", "O", "Al", "Si", "P", "S", "Cu", "Zn", "Ag", "I")
    text = nep_text(elements=elements, n_max=(1, 1), basis_size=(2, 2), l_max="2 0 0", neurons=6)
    native, m = text.encode(), 7 * len(elements)
    rng = np.random.default_rng(4)
    mean, factor = rng.normal(size=m), rng.normal(size=(m, m))
    tensors = {"covariance": factor @ factor.T} if kind == "covariance" else {"samples": factor[:5]}
    metadata = METADATA | {"family": "nep", "elements": " ".join(elements)}
    metadata["model_sha256"] = hashlib.sha256(native).hexdigest()
    tensors |= {"model": np.frombuffer(native, np.uint8), "mean": mean}
    (folder / "wide.uq").write_bytes(save(tensors, metadata=metadata))
    return folder / "wide.uq"


@pytest.mark.parametrize("kind", ["covariance", "samples"])
def test_only_blocks_of_species_that_occur_are_kept(tmp_path, kind):
    path = build_wide(tmp_path, kind)
    whole, part = _core.Model(path), _core.Model(path, occurring=["Cu", "O"])
    power = 2 if kind == "covariance" else 1
    assert part.posterior_memory == whole.posterior_memory // 6**power
    np.testing.assert_array_equal(part.weights, whole.weights)
    rng, total = np.random.default_rng(5), np.zeros(whole.nreadout)
    for name in ("Cu", "O"):
        z = whole.elements.index(name)
        offset, count = whole.blocks[z]
        phi = rng.normal(size=(4, count))
        total[offset : offset + count] = phi.sum(0)
        for wanted, found in zip(whole.variances(z, phi), part.variances(z, phi), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    wanted, product = whole.variance(total)
    found, kept = part.variance(total)
    assert found == pytest.approx(wanted, rel=1e-12)
    chosen = total != 0
    np.testing.assert_allclose(kept[chosen], product[chosen], rtol=1e-11, atol=1e-11)
    with pytest.raises(
        RuntimeError, match="without the block of weights 0 to 6, whose species was not"
    ):
        part.variances(0, np.ones((1, 7)))


def test_all_species_keep_everything(tmp_path):
    path = build_wide(tmp_path, "covariance")
    model = _core.Model(path)
    assert _core.Model(path, occurring=model.elements).posterior_memory == model.posterior_memory
