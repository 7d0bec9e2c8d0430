"""How much a packed file may stand for, so that a small one cannot fill the memory."""

import zipfile
from pathlib import Path

from sparra.errors import UserError

#: Deflate packs at most 1032 to 1, and no honest file of ours or of other tools is packed better.
MOST_PACKED = 1100
#: Beyond so many bytes unpacked, values that are packed better than `MOST_PACKED_LARGE` to 1 say nothing.
LARGE_BYTES = 1 << 30
MOST_PACKED_LARGE = 100


def promises_too_much(unpacked: int, packed: int) -> bool:
    """Tell whether content of `unpacked` bytes cannot honestly lie in `packed` bytes of a file."""
    return unpacked > packed * (MOST_PACKED_LARGE if unpacked > LARGE_BYTES else MOST_PACKED)


def unpacked_bytes(path: Path) -> int:
    """Add up what the members of a zip archive unpack to, by its directory; 0 if that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # On a damaged directory zipfile lets through whatever its parser raises.
        return 0


def require_honest_zip(path: Path, mend: str) -> None:
    """Look whether a zip archive can hold what its members unpack to, from its directory alone.

    An archive whose directory cannot be read is left to the reader, which says what is wrong with it.

    Raises
    ------
    UserError
        If it is more than the archive's size allows; members that share their bytes are found by that, too.
    """
    unpacked = unpacked_bytes(path)
    packed = path.stat().st_size
    if promises_too_much(unpacked, packed):
        raise UserError(f"an archive of {packed} bytes promises {unpacked} bytes, which it cannot hold", path, mend)
