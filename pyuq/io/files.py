# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are either the old ones or the new ones, never half of either."""

import fcntl
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.io.identity import UNSEALED, check_seal, seal

_PIECE = 2**24  # bytes of a file that are held at a time while it is summed


@contextmanager
def atomic_write(path, mode: str = "w") -> Iterator[IO]:
    """Open a file that replaces `path` when the block ends without an error.

    The data are on the disk (fsync) before the rename, so that a crash at any point leaves the old
    file or
    the new one.

    Parameters
    ----------
    path : str or Path
    mode : {"w", "wb"}

    Yields
    ------
    file object

    Raises
    ------
    FileNotFoundError, PermissionError
        See :func:`require_folder`.
    """
    path = Path(path)
    require_folder(path)
    # A name that nobody can foresee, for a file that was not there: what lies in a folder that others may write into
    # cannot lead the data elsewhere.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with named(path), open(temporary, mode, encoding=encoding, opener=_create) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def named(path) -> Iterator[None]:
    """Name the file in an error of the system that does not: a full disk does not say which."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _create(path: str, flags: int) -> int:
    """Open a file that must not be there yet, be it as a link."""
    return os.open(path, flags | os.O_EXCL, 0o666)


def require_folder(path, inputs: Iterable = ()) -> None:
    """Refuse a file that could not be written, or should not: better before the work than after it.

    Parameters
    ----------
    path : str or Path
        The file to write.
    inputs : iterable of str or Path
        Files that the work reads: none of them is written over.

    Raises
    ------
    InputError
        The path is that of an input.
    IsADirectoryError
        The path is a folder itself.
    FileNotFoundError
        There is no such folder.
    PermissionError
        The folder is read-only.
    """
    path = Path(path)
    for given in map(Path, inputs):
        if path.exists() and given.exists() and path.samefile(given):
            raise InputError(
                f"{path} is an input: writing there would destroy it; name another file"
            )
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into: make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"folder {path.parent} is read-only: write {path.name} elsewhere")


def check_folder(path) -> Path:
    """Refuse a folder for results that could not be made or written into: better before the work than after it.

    Raises
    ------
    NotADirectoryError
        A file lies there.
    PermissionError
        The folder, or the one that it would be made in, is read-only.
    """
    path = Path(path)
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file: name a folder to write into")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"folder {there} is read-only: write elsewhere")
    return path


def check_distinct(paths: Iterable) -> None:
    """Check that no file is named twice: its content would count twice.

    Raises
    ------
    InputError
        A file is named twice, perhaps by two paths.
    """
    seen = set()
    for path in map(Path, paths):
        if path.resolve() in seen:
            raise InputError(f"{path} is named twice: name each file once")
        seen.add(path.resolve())


def beside(path, name: str) -> Path:
    """Where to write a file that belongs to another: beside it, or, where that folder is read-only, here."""
    folder = Path(path).parent
    return folder / name if os.access(folder, os.W_OK) else Path(name)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Bring all files of a folder to the disk.

    Raises
    ------
    OSError
        The disk is full or broken.
    """
    inside = [path for path in Path(folder).rglob("*") if not path.is_symlink()]
    sync_files(*(path for path in inside if path.is_file()))
    for path in (*(path for path in inside if path.is_dir()), folder):
        sync_folder(path)


def sync_files(*paths: Path) -> None:
    """Bring files to the disk.

    Raises
    ------
    OSError
        The disk is full or broken.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with named(path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


@brief("folder")
class Lock:
    """Keeps a second process out of a folder that a command writes into; gone with the process, however it ends.

    Parameters
    ----------
    folder : Path
        Must be there; the lock is its file ``.lock``.

    Raises
    ------
    RuntimeError
        Another process has it; the message says which.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(Path(folder) / ".lock", flags, 0o666), "r+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._file.read().strip()
            self._file.close()
            raise RunError(
                f"another process is running in {folder}{f' ({holder})' if holder else ''}: wait for its end, or end it"
            ) from None
        with suppress(OSError):  # who it is only helps; a full disk must not keep us out
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            self._file.flush()

    def release(self) -> None:
        """Let others in."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_) -> None:
        self.release()


def clear_temporaries(folder: Path) -> None:
    """Remove what :func:`atomic_write` of a killed process has left in a folder that nobody else writes into."""
    for path in Path(folder).rglob(".*.tmp"):
        if re.fullmatch(r"\..+\.[0-9a-f]{16}\.tmp", path.name):
            path.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path, data, sealed: bool = False) -> None:
    """Write plain data as JSON, atomically.

    Parameters
    ----------
    path : path
    data
        JSON types.
    sealed : bool
        Add a checksum, see :mod:`pyuq.io.identity`; `data` must be a mapping. Such a file is for pyuq to read back, and
        keeps numbers that are not finite, as Python writes them. In others, for all readers, they become null.
    """
    if not sealed:
        write_text(path, json.dumps(_finite(data), indent=1, allow_nan=False) + "\n")
        return
    data = {k: v for k, v in data.items() if k not in UNSEALED} | UNSEALED
    with atomic_write(path, "wb") as file:
        file.write(seal((json.dumps(data, indent=1) + "\n").encode()))


def read_json(path, remedy: str = ""):
    """Read plain data from JSON, and check it against its checksum where it has one.

    Parameters
    ----------
    path : path
    remedy : str
        What to do with this file where it is damaged, for the message.

    Returns
    -------
    object
        Without the checksum.

    Raises
    ------
    InputError
        The file is damaged.
    """
    text = Path(path).read_bytes()
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: damaged, {error}" + (f"; {remedy}" if remedy else "")) from error
    if isinstance(data, dict):
        check_seal(path, data, text, remedy=remedy)
        data = {k: v for k, v in data.items() if k not in UNSEALED}
    return data


def _finite(data):
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def write_tensors(path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically, with its checksum; the same content gives the same bytes.

    Parameters
    ----------
    path : path
    tensors : mapping of str to ndarray
    metadata : mapping of str to str
        Without the checksum, see :mod:`pyuq.io.identity`.
    """
    entries = {k: v for k, v in metadata.items() if k not in UNSEALED} | UNSEALED
    data = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, entries)
    # The library writes the metadata in an order that differs from one process to the next.
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(
        json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    body = memoryview(data)[8 + size :]
    with atomic_write(path, "wb") as file:
        file.write(seal(len(header).to_bytes(8, "little") + header, [body]))
        file.write(body)


def read_tensors(
    path, kind: tuple[str, str] | None = None, what: str = "a safetensors file"
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file, and check it against its checksum: tensors by name, and metadata.

    Parameters
    ----------
    path : path
    kind : (str, str), optional
        Values that the metadata must have as ``format`` and ``format_version``.
    what : str
        What the file should be, for messages.

    Returns
    -------
    tensors : dict of str to ndarray
    metadata : dict of str to str
        Without the checksum.

    Raises
    ------
    InputError
        There is no such file, or it is damaged or of another format.
    """
    if not Path(path).is_file():
        raise InputError(f"no file {path}: expected {what}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_tensors(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: not {what}, or damaged: {error}") from error
    metadata = {k: v for k, v in metadata.items() if k not in UNSEALED}
    found = (metadata.get("format"), metadata.get("format_version"))
    if kind is not None and found != kind:
        raise InputError(
            f"{path}: format {found[0]!r} version {found[1]!r}, expected {kind[0]!r} version {kind[1]!r}"
        )
    return tensors, metadata


def _check_tensors(path, metadata: Mapping[str, str]) -> None:
    """Refuse a safetensors file that is not what its checksum says."""
    with open(path, "rb") as file:
        size = file.read(8)
        head = size + file.read(int.from_bytes(size, "little"))
        check_seal(path, metadata, head, iter(lambda: file.read(_PIECE), b""))


def read_metadata(path) -> dict[str, str]:
    """Metadata of a safetensors file; none where there is no such file or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {k: v for k, v in (file.metadata() or {}).items() if k not in UNSEALED}
    except (SafetensorError, OSError):
        return {}
