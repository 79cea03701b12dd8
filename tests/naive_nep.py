# SPDX-License-Identifier: GPL-2.0-or-later
"""NEP files of random numbers, and their energies straight from the definition, slow and plain."""

from math import factorial, pi, sqrt

import numpy as np
from ase.data import atomic_numbers
from scipy.special import eval_chebyt, eval_legendre, sph_harm_y

DEGREES = {"222": (2, 2, 2), "112": (1, 1, 2), "123": (1, 2, 3), "233": (2, 3, 3), "134": (1, 3, 4)}
FLAGS = ["222", "1111", "112", "123", "233", "134"]
FLAGS_53 = ["222", "1111", "112", "1122"]  # of GPUMD 5.3, which writes all four
UNIVERSAL = [(0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162)]

# Keywords of `nep_text`, one for every branch of the format.
CASES = {
    "nep3": {"version": 3, "elements": ("C", "H"), "l_max": "4 2 0"},
    "nep4": {"elements": ("Si",), "n_max": (10, 8), "basis_size": (6, 9), "l_max": "4 2 1"},
    "all_flags": {"elements": ("Si", "Ge"), "l_max": "4 1 1 1 1 1 1", "n_max": (3, 8)},
    "nep5_flexible_zbl": {
        "version": 5,
        "elements": ("Na", "P", "S"),
        "zbl": "0 0",
        "cutoff": "4.6 3.4 4.2 3.9 3.8 3.1 90 40",
        "l_max": "3 0 0 1",
    },
    "fixed_zbl": {"elements": ("Ag", "I"), "zbl": "0.9 1.9", "l_max": "2 2", "n_max": (4, 4)},
    "typewise_zbl": {"elements": ("Al", "O"), "zbl": "1 2.2 0.65", "l_max": "1"},
    "eight_words": {
        "elements": ("Mg", "O"),
        "zbl": "1 2.5",
        "cutoff": "4.5 3.5 90 40 1.6 1.1 0.7",
        "l_max": "4 0 0",
    },
    "many_elements": {
        "elements": ("Cr", "Cu", "Fe", "Ni", "Pd"),
        "n_max": (2, 2),
        "basis_size": (8, 12),
        "l_max": "4 2 1",
    },
    "l_max_8": {"elements": ("W",), "l_max": "8 2 0 0 1", "neurons": 17},
    "gpumd_5.3": {"elements": ("Te", "Pb"), "l_max": "3 1 1 1 1", "n_max": (3, 8)},
    "l_max_0": {"elements": ("Ar", "Xe"), "l_max": "0"},
    "zbl_beyond": {"elements": ("Ne",), "zbl": "1 5.2", "cutoff": "4 4.5", "l_max": "2"},
}


def shape(text):
    """Header of a file as numbers."""
    lines = iter(text.splitlines())
    words = next(lines).split()
    header = {"version": int(words[0][3]), "elements": words[2:], "zbl": None}
    for line in lines:
        key, *words = line.split()
        header[key] = [float(word) for word in words]
        if key == "ANN":
            break
    flags = [int(f) for f in header["l_max"][1:]]
    names = FLAGS_53 if len(flags) == 4 and flags[0] == 1 else FLAGS
    header["flags"] = [name for name, flag in zip(names, flags, strict=False) if flag]
    header["numbers"] = [float(line) for line in lines]
    radial, angular = (int(n) + 1 for n in header["n_max"])
    header["blocks"] = int(header["l_max"][0]) + len(header["flags"])
    header["dim"] = radial + angular * header["blocks"]
    return header


def nep_text(
    elements=("Cu",),
    version=4,
    zbl=None,
    cutoff="4.5 3.6 90 40",
    n_max=(3, 2),
    basis_size=(4, 5),
    l_max="4 0 0",
    neurons=5,
    seed=0,
):
    """Text of a nep.txt of random numbers."""
    rng = np.random.default_rng(seed)
    header = [f"nep{version}{'_zbl' if zbl else ''} {len(elements)} {' '.join(elements)}"]
    header += [f"zbl {zbl}"] if zbl else []
    header += [f"cutoff {cutoff}", "n_max {} {}".format(*n_max)]
    header += ["basis_size {} {}".format(*basis_size), f"l_max {l_max}", f"ANN {neurons} 0"]
    dim, t = shape("\n".join(header))["dim"], len(elements)
    networks = 1 if version == 3 else t
    sizes = networks * (neurons * (dim + 2) + (version == 5)) + 1
    numbers = list(rng.normal(size=sizes))
    for n, k in zip(n_max, basis_size, strict=True):
        numbers += list(0.5 * rng.normal(size=t * t * (n + 1) * (k + 1)))
    numbers += list(rng.uniform(0.05, 0.3, size=dim))
    if zbl == "0 0":
        for _ in range(t * (t + 1) // 2):
            r_in = rng.uniform(0.5, 1.0)
            numbers += [r_in, r_in + rng.uniform(0.8, 1.2)]
            numbers += [v for pair in UNIVERSAL for v in pair * rng.uniform(0.8, 1.2, size=2)]
    return "\n".join(header + [f"{v:15.7e}" for v in numbers]) + "\n"


def parse(text):
    """The potential of a file."""
    p = shape(text)
    t, dim, neurons = len(p["elements"]), p["dim"], int(p["ANN"][0])
    numbers = iter(p["numbers"])

    def take(*sizes):
        return np.array([next(numbers) for _ in range(int(np.prod(sizes)))]).reshape(sizes)

    networks = []
    for i in range(t):
        if p["version"] == 3 and i > 0:
            networks.append(networks[0])
            continue
        network = [take(neurons, dim), take(neurons), take(neurons), 0.0]
        if p["version"] == 5:
            network[3] = next(numbers)
        networks.append(network)
    p["networks"], p["b1"] = networks, next(numbers)
    p["c"] = [
        take(int(n) + 1, int(k) + 1, t, t) for n, k in zip(p["n_max"], p["basis_size"], strict=True)
    ]
    p["scaler"] = take(dim)
    p["pairs"] = {}
    if p["zbl"] and p["zbl"][:2] == [0, 0]:
        for i in range(t):
            for j in range(i, t):
                p["pairs"][i, j] = p["pairs"][j, i] = take(10)
    assert next(numbers, None) is None
    return p


RADII = {"Al": 1.50667, "O": 0.84, "Mg": 1.66667}  # Å, as GPUMD's table has them


def cutoffs(p, i, j):
    """Radial and angular cutoff of a pair, Å."""
    numbers, t = p["cutoff"], len(p["elements"])
    if len(numbers) == 7:
        radius = sum(RADII[p["elements"][k]] for k in (i, j))
        return [
            min(radius * f, rc) if f > 0 else rc
            for rc, f in zip(numbers[:2], numbers[4:6], strict=True)
        ]
    if len(numbers) == 2 * t + 2:
        return [(numbers[2 * i + c] + numbers[2 * j + c]) / 2 for c in (0, 1)]
    return numbers[:2]


def functions(n, r, rc):
    """f_k(r), k < n."""
    if r >= rc:
        return np.zeros(n)
    x = 2 * (r / rc - 1) ** 2 - 1
    return 0.5 * (eval_chebyt(np.arange(n), x) + 1) * 0.5 * (1 + np.cos(np.pi * r / rc))


def gaunt(l1, l2, l3, m1, m2, m3):
    """∫ Y Y Y by quadrature, divided by what turns it into the 3j symbol."""
    z, w = np.polynomial.legendre.leggauss(12)
    y = [
        sph_harm_y(degree, m, np.arccos(z), 0.0).real
        for degree, m in ((l1, m1), (l2, m2), (l3, m3))
    ]
    g = (l1 + l2 + l3) // 2
    zero = (-1) ** g * factorial(g)
    for degree in (l1, l2, l3):
        zero *= sqrt(factorial(2 * g - 2 * degree)) / factorial(g - degree)
    zero /= sqrt(factorial(2 * g + 1))
    scale = sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * pi)) * zero
    return 2 * pi * (w * y[0] * y[1] * y[2]).sum() / scale


def invariant_1122(q1, q2, channels, directions):
    """q_1122 of GPUMD 5.3, from Cartesian moments v = Σ g r̂ and M = Σ g (r̂ r̂ - 1/3)."""
    v = channels.T @ directions
    m = np.einsum("an,ai,aj->nij", channels, directions, directions)
    m -= np.eye(3) / 3 * channels.sum(0)[:, None, None]
    square = (np.einsum("nij,nj->ni", m, v) ** 2).sum(-1)
    product = 1 / sqrt(15) - 2 * sqrt(21) / 105
    return product * q1 * q2 + sqrt(21) / 35 * 3 / (4 * pi) * 15 / (4 * pi) * square


def descriptors(p, i, neighbors):
    """q of an atom of species i; neighbors: (species, vector) of each."""
    c_radial, c_angular = p["c"]
    lmax = int(p["l_max"][0])
    radial, channels, directions = np.zeros(len(c_radial)), [], []
    for j, d in neighbors:
        r = np.linalg.norm(d)
        rc_radial, rc_angular = cutoffs(p, i, j)
        radial += c_radial[:, :, i, j] @ functions(c_radial.shape[1], r, rc_radial)
        channels.append(c_angular[:, :, i, j] @ functions(c_angular.shape[1], r, rc_angular))
        directions.append(d / r)
    channels = np.array(channels).reshape(-1, len(c_angular))
    directions = np.array(directions).reshape(-1, 3)
    cosines = np.clip(directions @ directions.T, -1, 1)
    q = [radial]
    for degree in range(1, lmax + 1):
        legendre = eval_legendre(degree, cosines)
        q.append(
            (2 * degree + 1) / (4 * pi) * np.einsum("an,ab,bn->n", channels, legendre, channels)
        )
    theta = np.arccos(np.clip(directions[:, 2], -1, 1))
    phi = np.arctan2(directions[:, 1], directions[:, 0])
    for name in p["flags"]:
        if name == "1111":
            q.append(7 / 15 * q[1] ** 2)
            continue
        if name == "1122":
            q.append(invariant_1122(q[1], q[2], channels, directions))
            continue
        l1, l2, l3 = DEGREES[name]

        def a(degree, m):
            return channels.T @ sph_harm_y(degree, m, theta, phi)

        q.append(
            sum(
                gaunt(l1, l2, l3, m1, m2, -m1 - m2) * (a(l1, m1) * a(l2, m2) * a(l3, -m1 - m2)).real
                for m1 in range(-l1, l1 + 1)
                for m2 in range(-l2, l2 + 1)
                if abs(m1 + m2) <= l3
            )
        )
    return np.concatenate(q)


def hidden(p, i, q):
    """Activations of the hidden layer."""
    w0, b0, _, _ = p["networks"][i]
    return np.tanh(w0 @ (q * p["scaler"]) - b0)


def repulsion(p, i, j, r):
    """ZBL energy of a pair, eV."""
    if not p["zbl"]:
        return 0.0
    (r_in, r_out), parameters = p["zbl"][:2], UNIVERSAL
    typewise = p["zbl"][2] if len(p["zbl"]) == 3 else p["cutoff"][6] if len(p["cutoff"]) == 7 else 0
    if r_in == r_out == 0:
        r_in, r_out, *numbers = p["pairs"][i, j]
        parameters = list(zip(numbers[::2], numbers[1::2], strict=True))
    elif typewise:
        r_out = min(sum(RADII[p["elements"][k]] for k in (i, j)) * typewise, r_out)
        r_in = 0.0 if len(p["zbl"]) == 3 else r_out / 2
    if r >= r_out:
        return 0.0
    zi, zj = (atomic_numbers[p["elements"][k]] for k in (i, j))
    x = r * 2.134563 * (zi**0.23 + zj**0.23)
    f = 1.0 if r < r_in else 0.5 * (1 + np.cos(pi * (r - r_in) / (r_out - r_in)))
    return 14.399645 * zi * zj / r * sum(a * np.exp(-b * x) for a, b in parameters) * f


def atomic_energy(p, i, neighbors):
    """Energy of an atom, eV."""
    _, _, w1, bias = p["networks"][i]
    energy = w1 @ hidden(p, i, descriptors(p, i, neighbors)) - p["b1"] - bias
    return energy + sum(0.5 * repulsion(p, i, j, np.linalg.norm(d)) for j, d in neighbors)
