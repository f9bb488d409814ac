"""IDX files, the format of MNIST: a header of big-endian integers, then unsigned bytes in row-major order."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqlra.errors import SeqlraError

_UNSIGNED_BYTES = 0x08  # the third byte of the magic number; the fourth is the number of axes


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, read-only.

    Args:
        path: the file; read as gzip where its name ends in ``.gz``.
        axes: how many axes the array must have: 3 for images ``(n, height, width)``, 1 for labels ``(n,)``.

    Raises:
        SeqlraError: a file that is missing, is not the gzip that its name says, is truncated or corrupt, has
            another magic number, or whose header and content disagree.
    """
    content = _bytes(path)
    wanted = _magic(axes)
    if content[:4] != wanted:
        found = f"magic 0x{content[:4].hex()}" if len(content) >= 4 else f"only {len(content)} bytes"
        raise SeqlraError(
            f"{path} has {found}; an IDX file of unsigned bytes with {_counted(axes)} begins 0x{wanted.hex()}"
        )
    start = 4 + 4 * axes
    if len(content) < start:
        raise SeqlraError(f"{path} ends inside its header: {len(content)} bytes; {_counted(axes)} need {start}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=axes, offset=4))
    if len(content) - start != math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise SeqlraError(
            f"{path} promises {sizes} = {math.prod(shape)} bytes in its header, but {len(content) - start} follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes; gzipped where the name ends in ``.gz``, the same bytes every time.

    Raises:
        SeqlraError: an array of another type, which IDX files of this kind cannot hold.
    """
    if array.dtype != np.uint8:
        raise SeqlraError(f"{path}: only arrays of uint8 are written; given: {array.dtype}")
    content = _magic(array.ndim) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    if path.suffix != ".gz":
        path.write_bytes(content)
        return
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:  # no name, no time
        packed.write(content)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise SeqlraError(f"there is no file {path}")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SeqlraError(f"{path} is not a whole gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise SeqlraError(f"{path} cannot be read: {error.strerror or error}") from error


def _magic(axes: int) -> bytes:
    return bytes([0, 0, _UNSIGNED_BYTES, axes])


def _counted(axes: int) -> str:
    return f"{axes} {'axis' if axes == 1 else 'axes'}"
