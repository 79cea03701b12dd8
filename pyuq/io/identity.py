# SPDX-License-Identifier: GPL-2.0-or-later
"""Which content a file or a structure has: hashes, and the checksum that a file carries of itself.

A file with a checksum holds two entries, in its JSON or in the JSON header of a safetensors file: ``pyuq_checksum``, 64
hexadecimal digits, and ``pyuq_checksum_of``, a sentence that says of what. The sum is the SHA-256 of every byte of the
file, with zeros in the place of the 64 digits themselves. It covers the header too (lengths, names, offsets, metadata).
There are two entries so that damage to the name of one does not turn the file into one of an older version, which has
neither.

The C++ reader checks the same sum in ``lammps_plugin/core/formats/safetensors.cpp``.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyuq.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

ZEROS = "0" * 64
CHECKSUM, CHECKSUM_OF = "pyuq_checksum", "pyuq_checksum_of"
RULE = "SHA-256 of all bytes of this file, the 64 digits of the checksum as zeros"
UNSEALED = {CHECKSUM: ZEROS, CHECKSUM_OF: RULE}  # the entries before the sum is known
HASH_DIGITS = 16  # of the hash of a structure that a posterior keeps


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def structure_hash(atoms: "Atoms") -> str:
    """Hash of positions, cell, species and label of one structure."""
    h = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
        h.update(np.ascontiguousarray(array).tobytes())
    for name in ("energy", "forces", "stress"):
        if name in atoms.calc.results:
            h.update(np.asarray(atoms.calc.results[name], dtype=float).tobytes())
    return h.hexdigest()


def joined_hash(hashes: Iterable[str]) -> str:
    """Hash of a set of structures from theirs."""
    return hash_bytes("".join(sorted(hashes)).encode())


def training_hash(structures: Iterable["Atoms"]) -> str:
    """Hash of positions, cells, species and labels, independent of their order."""
    return joined_hash(map(structure_hash, structures))


def training_record(hashes: Iterable[str]) -> list[str]:
    """Beginnings of the hashes of structures, which a posterior keeps so that none of them is taken for a judge."""
    return sorted(h[:HASH_DIGITS] for h in hashes)


def repetition_note(hashes: Iterable[str], test: Iterable[str] = ()) -> str:
    """Say how many structures are there more than once; empty if none.

    Copies are not taken out: data sets give structures weight in this way. Their labels count as so many
    independent ones, which they are not, and a copy that judges has been learnt.

    Parameters
    ----------
    hashes, test : iterable of str
        :func:`structure_hash` of the structures that teach, and of those that judge.
    """
    counts, test, notes = Counter(hashes), list(test), []
    if copies := counts.total() - len(counts):
        notes.append(
            f"{copies} of {counts.total()} training structures are exact copies of others and count again: unless "
            "this weight is meant, leave them out, or error bars come out too small"
        )
    if known := sum(h in counts for h in test):
        notes.append(
            f"{known} of {len(test)} test structures are training structures too: their errors say nothing of new ones"
        )
    return "; ".join(notes)


def seal(head: bytes, body: Iterable[bytes] = ()) -> bytes:
    """Put the checksum of a file into its JSON.

    Parameters
    ----------
    head : bytes
        Beginning of the file; its JSON holds the entries ``UNSEALED``.
    body : iterable of bytes
        The rest of the file, in pieces.

    Returns
    -------
    bytes
        `head` with the sum in the place of the zeros.
    """
    start = _digits(head, ZEROS)
    return head[:start] + _sum(head, body).encode() + head[start + 64 :]


def check_seal(
    path, entries: Mapping[str, Any], head: bytes, body: Iterable[bytes] = (), remedy: str = ""
) -> None:
    """Refuse a file whose content is not what its checksum says.

    A file that holds neither of the two entries was written by an older version, or by another program, and passes.

    Parameters
    ----------
    path : path
        Of the file, for the message.
    entries : mapping
        What the JSON in `head` holds.
    head, body
        The whole file, as in :func:`seal`.
    remedy : str
        What to do with this file where it is damaged; default: restore it or make it again.

    Raises
    ------
    InputError
        The file is damaged, or was changed since it was written.
    """
    said, rule = entries.get(CHECKSUM), entries.get(CHECKSUM_OF)
    if said is None and rule is None:
        return
    remedy = remedy or (
        "put back a copy of it or make it again (if it was changed on purpose: write it without the entries "
        f"{CHECKSUM} and {CHECKSUM_OF})"
    )
    if said is None or rule is None:
        gone, there = (CHECKSUM, CHECKSUM_OF) if said is None else (CHECKSUM_OF, CHECKSUM)
        raise InputError(f"{path}: damaged: it has the entry {there} but not {gone}; {remedy}")
    if rule != RULE:
        raise InputError(
            f"{path}: damaged, or of a newer pyuq: {CHECKSUM_OF} is {rule!r}, expected {RULE!r}; {remedy}"
        )
    start = _digits(head, said) if isinstance(said, str) else -1
    if start < 0:
        raise InputError(
            f"{path}: damaged: {CHECKSUM} is {said!r}, expected 64 hexadecimal digits, once; {remedy}"
        )
    found = _sum(head[:start] + ZEROS.encode() + head[start + 64 :], body)
    if found != said:
        raise InputError(
            f"{path}: damaged, or changed since it was written: its content has the sum {found[:12]}…, its "
            f"{CHECKSUM} is {said[:12]}…; {remedy}"
        )


def _digits(head: bytes, digits: str) -> int:
    """Where the digits of the checksum begin; -1 unless they are there once and are digits."""
    if not re.fullmatch("[0-9a-f]{64}", digits):
        return -1
    found = list(re.finditer(rf'"{CHECKSUM}": ?"{digits}"'.encode(), head))
    return found[0].end() - 65 if len(found) == 1 else -1


def _sum(head: bytes, body: Iterable[bytes]) -> str:
    found = hashlib.sha256(head)
    for piece in body:
        found.update(piece)
    return found.hexdigest()
