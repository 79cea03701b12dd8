# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions of a basis by definition: sums over neighbours, scipy's harmonics, no recursion or table."""

from functools import cache

import numpy as np
from ase.neighborlist import neighbor_list
from scipy.special import eval_chebyt, sph_harm_y


def chebyshev(name, k, x, parameter):
    """The first argument is r / cutoff."""
    if name == "ChebExpCos":
        edge = np.exp(-parameter)
        y = 1 - 2 * (np.exp(-parameter * x) - edge) / (1 - edge)
        envelope = 0.5 * (1 + np.cos(np.pi * x))
        return envelope * (np.ones_like(x) if k == 1 else 0.5 - 0.5 * eval_chebyt(k - 1, y))
    y = 1 - 2 * (1 - x) ** parameter if name == "ChebPow" else 1 - x
    return 0.5 - 0.5 * eval_chebyt(k, y)


def bessel(k, x, cutoff):
    n = k - 1
    factor = (n + 1) * (n + 2) / np.hypot(n + 1, n + 2)
    h = (-1) ** n * np.sqrt(2) * np.pi / cutoff**1.5 * factor
    h = h * (np.sinc((n + 1) * x) + np.sinc((n + 2) * x))
    if n == 0:
        return h
    ratio = overlap(n) / diagonal(n - 1)
    return (h + np.sqrt(ratio) * bessel(k - 1, x, cutoff)) / np.sqrt(diagonal(n))


def overlap(n):
    return n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)


def diagonal(n):
    return 1.0 if n == 0 else 1 - overlap(n) / diagonal(n - 1)


def radial(basis, k, r, cutoff):
    """g_k at distances r."""
    if basis.radial == "SBessel":
        return bessel(k, r / cutoff, cutoff)
    g = chebyshev(basis.radial, k, r / cutoff, basis.radial_parameter)
    if basis.radial == "ChebExpCos":
        end = r > cutoff - basis.dcut
        g[end] *= 0.5 * (1 + np.cos(np.pi * (r[end] - cutoff + basis.dcut) / basis.dcut))
    return g


def values(basis, vectors, species, centre=0):
    """Functions of one atom from the vectors to its neighbours (Å) and their species."""
    r = np.linalg.norm(vectors, axis=1)
    theta, phi = np.arccos(vectors[:, 2] / r), np.arctan2(vectors[:, 1], vectors[:, 0])

    @cache
    def a(mu, n, l, m):
        cutoff = basis.pair_cutoff(basis.elements[centre], basis.elements[mu])
        chosen = (species == mu) & (r < cutoff)
        y = np.sqrt(4 * np.pi) * sph_harm_y(l, m, theta[chosen], phi[chosen])
        return complex((radial(basis, n, r[chosen], cutoff) * y).sum())

    def function(f):
        factors = list(zip(f.mus, f.ns, f.ls, strict=True))
        total = 0.0
        for ms, c in zip(f.ms, f.ctildes, strict=True):
            product = c
            for factor, m in zip(factors, ms, strict=True):
                product = product * a(*factor, m)
            total += product.real
        return total

    return np.array([function(f) for f in basis.functions[centre]])


def energies(basis, coefficients, e0, atoms):
    """Energy of each atom without repulsion, eV."""
    i, j, vectors = neighbor_list("ijD", atoms, basis.largest_cutoff)
    species = np.array([basis.elements.index(symbol) for symbol in atoms.symbols])
    first = np.concatenate([[0], np.cumsum([len(fs) for fs in basis.functions])])
    result = np.zeros(len(atoms))
    for atom, z in enumerate(species):
        near = i == atom
        features = values(basis, vectors[near], species[j[near]], z)
        result[atom] = e0.get(basis.elements[z], 0.0)
        result[atom] += features @ coefficients[first[z] : first[z + 1]]
    return result
