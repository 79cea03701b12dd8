# SPDX-License-Identifier: GPL-2.0-or-later
"""Exact updates, sampling and the file of a posterior."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from pyuq.inference.posterior import PosteriorFile
from pyuq.inference.regression import BayesianRidge, NormalEquations, condition
from pyuq.io.identity import hash_bytes


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 40)) * np.logspace(0.0, -3.0, 40)
    y = X @ rng.normal(size=40) + 0.1 * rng.normal(size=900)
    return X, y, rng.uniform(0.5, 2.0, 900)


class TestUpdate:
    @pytest.mark.parametrize("old", [100, 20, 890])
    def test_agrees_with_the_full_fit(self, data, old):
        X, y, weights = data  # 880 new rows need more than one block
        ridge = BayesianRidge().fit(X[:200], y[:200], weights[:200])
        start = ridge.condition(NormalEquations(40).add(X[:old], y[:old], weights[:old]))
        updated = start.update(X[old:], y[old:], weights[old:])
        full = ridge.condition(NormalEquations(40).add(X, y, weights))
        scale = np.abs(full.covariance).max()
        np.testing.assert_allclose(updated.covariance, full.covariance, rtol=0, atol=1e-8 * scale)
        np.testing.assert_allclose(updated.mean, full.mean, rtol=0, atol=1e-8)
        assert updated.log_evidence == pytest.approx(full.log_evidence, rel=1e-9)
        assert updated.nrows == 900

    def test_leaves_the_old_posterior_alone(self, data):
        X, y, _ = data
        old = BayesianRidge().fit(X, y).posterior_
        before = old.covariance.copy()
        old.update(X[:5], y[:5])
        np.testing.assert_array_equal(old.covariance, before)

    def test_refuses_rows_of_another_basis(self, data):
        X, y, _ = data
        with pytest.raises(ValueError, match=r"expected \(n, 40\)"):
            BayesianRidge().fit(X, y).posterior_.update(np.ones((2, 39)), [0.0, 0.0])


class TestSample:
    def test_mean_and_covariance(self, data):
        X, y, _ = data
        posterior = BayesianRidge().fit(X, y).posterior_
        draws = posterior.sample(20000, rng=1)
        root = np.sqrt(np.diag(posterior.covariance))
        assert np.abs((draws.mean(axis=0) - posterior.mean) / root).max() < 0.04
        correlation = np.cov(draws.T) / np.outer(root, root)
        np.testing.assert_allclose(
            correlation, posterior.covariance / np.outer(root, root), atol=0.05
        )
        np.testing.assert_array_equal(draws, posterior.sample(20000, rng=1))

    def test_singular_covariance(self, data):
        X, y, _ = data
        d = np.where(np.arange(40) % 3, 1.0, 0.0)
        posterior = condition(NormalEquations(40).add(X, y), d, 0.01)
        draws = posterior.sample(500, rng=2)
        assert not draws[:, d == 0.0].any()
        np.testing.assert_allclose(
            draws[:, d > 0.0].std(axis=0),
            np.sqrt(np.diag(posterior.covariance)[d > 0.0]),
            rtol=0.2,
        )


def test_predict_adds_the_noise_of_weighted_rows(data):
    X, y, _ = data
    posterior = BayesianRidge().fit(X, y).posterior_
    _, std = posterior.predict(X[:3])
    _, noisy = posterior.predict(X[:3], weights=2.0)
    np.testing.assert_allclose(noisy**2 - std**2, posterior.noise_variance / 4.0)
    expected = [np.sqrt(x @ posterior.covariance @ x) for x in X[:3]]
    np.testing.assert_allclose(std, expected)


class TestFile:
    @pytest.fixture
    @staticmethod
    def content():
        return PosteriorFile(
            model=b"elements: [Si]\n",
            mean=np.arange(3.0),
            covariance=np.eye(3),
            elements=("Ag", "I"),
            model_sha256=hash_bytes(b"exported"),
            training_sha256="ab",
            provenance={"solver": "ridge", "rows": 7},
        )

    def test_round_trip(self, content, tmp_path):
        content.write(tmp_path / "a.uq")
        read = PosteriorFile.read(tmp_path / "a.uq")
        for field in dataclasses.fields(content):
            np.testing.assert_equal(getattr(read, field.name), getattr(content, field.name))
        assert list(tmp_path.iterdir()) == [tmp_path / "a.uq"]

    def test_samples_instead_of_covariance(self, content, tmp_path):
        samples = np.arange(6.0).reshape(2, 3)
        dataclasses.replace(content, covariance=None, samples=samples).write(tmp_path / "a.uq")
        read = PosteriorFile.read(tmp_path / "a.uq")
        assert read.covariance is None
        np.testing.assert_array_equal(read.samples, samples)

    def test_same_content_gives_the_same_bytes(self, content, tmp_path):
        """In other processes too: the order of a hash map of the writer's library would show there."""
        write = (
            "import sys, numpy as np\n"
            "from pyuq.inference.posterior import PosteriorFile\n"
            "PosteriorFile(b'model', np.arange(2.0), ('Al',), np.eye(2)).write(sys.argv[1])\n"
        )
        files = [tmp_path / f"{k}.uq" for k in range(4)]
        for path in files:
            subprocess.run([sys.executable, "-c", write, str(path)], check=True, timeout=60)
        assert len({hash_bytes(path.read_bytes()) for path in files}) == 1

    def test_mismatched_model_is_refused(self, content, tmp_path):
        (tmp_path / "a.yace").write_bytes(b"exported")
        content.check_model(tmp_path / "a.yace")
        (tmp_path / "a.yace").write_bytes(b"edited")
        with pytest.raises(ValueError, match="its posterior was made for"):
            content.check_model(tmp_path / "a.yace")

    @pytest.mark.parametrize(
        "change", [{"samples": np.ones((2, 3))}, {"covariance": None}, {"covariance": np.eye(2)}]
    )
    def test_inconsistent_content_is_refused(self, content, change):
        with pytest.raises(ValueError, match=r"posterior needs|expected"):
            dataclasses.replace(content, **change)

    def test_foreign_files_are_refused(self, content, tmp_path):
        (tmp_path / "a.uq").write_bytes(b"not safetensors at all")
        with pytest.raises(ValueError, match="not a safetensors file"):
            PosteriorFile.read(tmp_path / "a.uq")
        save_file({"mean": np.ones(2)}, tmp_path / "b.uq")
        with pytest.raises(ValueError, match="expected 'pyuq-posterior'"):
            PosteriorFile.read(tmp_path / "b.uq")
        content.write(tmp_path / "c.uq")
        data = (tmp_path / "c.uq").read_bytes()
        (tmp_path / "c.uq").write_bytes(data[:-5])
        with pytest.raises(ValueError, match="not a safetensors file"):
            PosteriorFile.read(tmp_path / "c.uq")
