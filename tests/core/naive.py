# SPDX-License-Identifier: GPL-2.0-or-later
"""ACE energies straight from the definition, slow and plain: the twin of the kernels."""

import json
import re

import numpy as np
from ase.data import atomic_numbers
from scipy.special import eval_chebyt, sph_harm_y

COULOMB = 14.399645351950543  # eV Å


def parse(text):
    """Elements, E0, embeddings, bonds and functions of a .yace written by ``synthetic.yace``."""
    text = re.sub(r"(?<=\d)e(?=[-+]?\d)", "E", text)
    quote = re.compile(r"(?<![\d.])([A-Za-z]\w*)")
    potential, section, mu = {"embeddings": {}, "bonds": {}, "functions": {}}, None, 0
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if not line.startswith(" "):
            section = key.rstrip(":")
            if value:
                potential[section] = json.loads(quote.sub(r'"\1"', value))
        elif section == "functions" and line.startswith("    - "):
            potential["functions"][mu].append(json.loads(quote.sub(r'"\1"', line.strip()[2:])))
        elif section == "functions":
            mu = int(key.rstrip(":"))
            potential["functions"][mu] = []
        else:
            potential[section][key] = json.loads(quote.sub(r'"\1"', value))
    return potential


def step(x, end, width):
    """Quintic step: 1 below end - width, 0 above end."""
    t = np.clip(1 - 2 * (1 + (x - end) / width), -1, 1)
    return 0.5 + 3.75 * (t / 4 - t**3 / 6 + t**5 / 20)


def radial(bond, r):
    """g_k(r), shape (K,)."""
    n, rc, lam = bond["nradbasemax"], bond["rcut"], bond["radparameters"][0]
    k = np.arange(n)
    if bond["radbasename"] == "SBessel":
        g = simplified_bessel(n, rc, r)
    elif bond["radbasename"] == "ChebExpCos":
        x = 1 - 2 * (np.exp(-lam * r / rc) - np.exp(-lam)) / (1 - np.exp(-lam))
        g = (
            np.where(k == 0, 1.0, 0.5 - 0.5 * eval_chebyt(k, x))
            * 0.5
            * (1 + np.cos(np.pi * r / rc))
        )
        if r > rc - bond["dcut"]:
            g *= 0.5 * (1 + np.cos(np.pi * (r - rc + bond["dcut"]) / bond["dcut"]))
    else:
        x = 1 - 2 * (1 - r / rc) ** lam if bond["radbasename"] == "ChebPow" else 1 - r / rc
        g = 0.5 - 0.5 * eval_chebyt(k + 1, x)
    if bond["inner_cutoff_type"] == "distance":
        g = g * (1 - step(r, bond["rcut_in"], bond["dcut_in"]))
    return g


def simplified_bessel(count, rc, r):
    g, d = [], []
    for n in range(count):
        a, b = n + 1, n + 2
        h = (-1) ** n * np.sqrt(2) * np.pi / rc**1.5 * a * b / np.hypot(a, b)
        h *= np.sinc(a * r / rc) + np.sinc(b * r / rc)
        e = n**2 * b**2 / (4 * a**4 + 1)
        d.append(1 - e / d[-1] if n else 1.0)
        g.append((h + np.sqrt(e / d[n - 1]) * g[-1]) / np.sqrt(d[n]) if n else h)
    return np.array(g)


def core(bond, elements, i, j, r):
    """Core repulsion of a pair, eV."""
    rc, dcut = bond["rcut"], bond["dcut"]
    if bond["inner_cutoff_type"] != "zbl":
        c = (
            abs(bond["prehc"])
            * np.exp(-abs(bond["lambdahc"]) * r**2)
            / r
            * 0.5
            * (1 + np.cos(np.pi * r / rc))
        )
        return c * (
            step(r, bond["rcut_in"], bond["dcut_in"])
            if bond["inner_cutoff_type"] == "distance"
            else 1
        )
    zi, zj = atomic_numbers[elements[i]], atomic_numbers[elements[j]]
    a = 0.4685 / (zi**0.23 + zj**0.23)
    screening = zip(
        (0.18175, 0.50986, 0.28022, 0.02817), (-3.1998, -0.94229, -0.4029, -0.20162), strict=True
    )
    terms = [(c, k / a) for c, k in screening]

    def derivative(x, order):  # of φ(x/a)/x
        phi = [sum(c * k**q * np.exp(k * x) for c, k in terms) for q in range(3)]
        return (
            phi[0] / x,
            phi[1] / x - phi[0] / x**2,
            phi[2] / x - 2 * phi[1] / x**2 + 2 * phi[0] / x**3,
        )[order]

    e, de, d2e = (derivative(rc, order) for order in range(3))
    x = max(0.0, r - (rc - dcut))
    smooth = (-3 * de + dcut * d2e) / dcut**2 * x**3 / 3 + (
        2 * de - dcut * d2e
    ) / dcut**3 * x**4 / 4
    smooth += -e + dcut * de / 2 - dcut**2 * d2e / 12
    return bond["prehc"] * COULOMB / 2 * zi * zj * (derivative(r, 0) + smooth) * step(r, rc, dcut)


def embed(name, rho, m):
    a, e = abs(rho), np.exp(-abs(rho))
    if m == 1:
        return rho
    if name == "FinnisSinclairShiftedScaled":
        nu = 1 / m
        return np.sign(rho) * ((nu ** (nu / (1 - nu)) * e + a) ** m - nu ** (1 / (1 - nu)) * e)
    g = np.exp(-((1e6 * a) ** 3)) if (1e6 * a) ** 3 < 30 else 0.0
    return np.sign(rho) * ((1 - g) * a**m + 1e-6 ** (m - 1) * g * a)


def atomic_base(bond, vectors):
    """Σ_j g_k, shape (K,), and Σ_j R_nl Y_lm as a dictionary (n, l, m), n from 1."""
    rank1, base = np.zeros(bond["nradbasemax"]), {}
    crad = np.array(bond["radcoefficients"])
    for v in vectors:
        r = np.linalg.norm(v)
        g = radial(bond, r)
        rank1 += g
        polar, azimuth = np.arccos(v[2] / r), np.arctan2(v[1], v[0])
        for n, l in np.ndindex(bond["nradmax"], bond["lmax"] + 1):
            for m in range(-l, l + 1):
                y = np.sqrt(4 * np.pi) * sph_harm_y(l, m, polar, azimuth)
                base[n + 1, l, m] = base.get((n + 1, l, m), 0) + crad[n, l] @ g * y
    return rank1, base


def atomic_energy(potential, mu0, neighbors):
    """Energy (eV) of an atom of element index `mu0`; `neighbors`: list of (element index, vector)."""
    elements = potential["elements"]
    bonds = [potential["bonds"][f"[{mu0}, {mu}]"] for mu in range(len(elements))]
    near = [
        [v for s, v in neighbors if s == mu and np.linalg.norm(v) < bonds[mu]["rcut"]]
        for mu in range(len(bonds))
    ]
    bases = [atomic_base(bond, vectors) for bond, vectors in zip(bonds, near, strict=True)]
    embedding = potential["embeddings"][str(mu0)]
    rho = np.zeros(embedding["ndensity"])
    for f in potential["functions"][mu0]:
        coefficients = np.reshape(f["ctildes"], (-1, len(rho)))
        for ms, c in zip(np.reshape(f["ms_combs"], (-1, f["rank"])), coefficients, strict=True):
            if f["rank"] == 1:
                product = bases[f["mus"][0]][0][f["ns"][0] - 1]
            else:
                factors = zip(f["mus"], f["ns"], f["ls"], ms, strict=True)
                product = np.prod([bases[mu][1].get((n, l, m), 0) for mu, n, l, m in factors]).real
            rho += c * product
    parameters = np.reshape(embedding["FS_parameters"], (-1, 2))
    energy = sum(
        w * embed(embedding["npoti"], p, m) for p, (w, m) in zip(rho, parameters, strict=True)
    )
    return potential["E0"][mu0] + switch_to_core(elements, embedding, bonds, mu0, near, energy)


def switch_to_core(elements, embedding, bonds, mu0, near, energy):
    pairs = [(mu, np.linalg.norm(v)) for mu, vectors in enumerate(near) for v in vectors]
    repulsion = sum(core(bonds[mu], elements, mu0, mu, r) for mu, r in pairs)
    if bonds[0]["inner_cutoff_type"] != "zbl":
        return (
            energy * step(repulsion, embedding["rho_core_cutoff"], embedding["drho_core_cutoff"])
            + repulsion
        )
    if not pairs:
        return energy
    d, mu = min((r - bonds[mu]["rcut_in"] + bonds[mu]["dcut_in"], mu) for mu, r in pairs)
    f = step(bonds[mu]["dcut_in"] - d, bonds[mu]["dcut_in"], bonds[mu]["dcut_in"])
    return energy * f + repulsion * (1 - f)
