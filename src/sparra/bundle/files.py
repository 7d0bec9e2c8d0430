"""The files of a bundle: a manifest with the SHA-256 of each, and reading that trusts none of them.

A bundle is a folder of a few files, no folder below it. ``manifest.json`` is canonical JSON (sorted keys, two
spaces): it names every other file with its size and SHA-256, and one digest over all of that. So any byte changed,
added or left out anywhere is found. The digest is no signature: who can write the folder can write a new manifest,
so compare the digest with the one that the sender told you.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparra.errors import UserError

FORMAT = "sparra-bundle"
VERSION = 1
MANIFEST = "manifest.json"
MOST_FILES = 1000
MOST_MANIFEST_BYTES = 1_000_000
MOST_JSON_BYTES = 20_000_000
MOST_BYTES = 8_000_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9]+)+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEND = "Ask its sender for the bundle again"


def write_files(folder: Path, files: Mapping[str, bytes], overwrite: bool = False) -> str:
    """Write a bundle's files and their manifest; the folder is whole or absent.

    An old bundle is moved aside before the new one takes its name: if the process is killed between the two, the old
    one lies whole in a folder ``.old-*`` beside.

    Returns
    -------
    str
        The digest over all files.

    Raises
    ------
    UserError
        If `folder` exists and is not to be overwritten, or is no bundle.
    """
    if folder.exists() or folder.is_symlink():
        if not overwrite:
            raise UserError("there is something of that name already", folder, "Name another, or give --overwrite")
        if folder.is_symlink() or not (folder / MANIFEST).is_file():
            raise UserError("this is not a bundle, so it is not overwritten", folder, "Name another folder")
    entries = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in sorted(files.items())}
    manifest: dict[str, Any] = {"format": FORMAT, "version": VERSION, "files": entries}
    manifest["digest"] = _digest(manifest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".partial-{os.getpid()}-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, data in {**files, MANIFEST: _canonical(manifest)}.items():
            _write_synced(temporary / name, data)
        _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return str(manifest["digest"])


def _put_in_place(new: Path, folder: Path) -> None:
    """Give a new bundle its name; an old one of that name goes only when that is done."""
    if not folder.exists():
        new.replace(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
    old = folder.rename(aside / folder.name)
    try:
        new.replace(folder)
    except BaseException:
        old.rename(folder)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


def read_files(folder: Path) -> tuple[dict[str, bytes], str]:
    """Read a bundle's files, each checked against the manifest, and the digest over all.

    Raises
    ------
    UserError
        If the folder is no bundle of this version, or any file is missing, added, truncated or changed, is no
        plain file, or is larger than a bundle's file can be.
    """
    if not folder.is_dir():
        raise UserError("there is no bundle here", folder, "Give the folder that `sparra export` wrote")
    manifest = _read_manifest(folder / MANIFEST)
    present = set(os.listdir(folder)) - {MANIFEST}
    listed = set(manifest["files"])
    for names, told in ((listed - present, "is missing"), (present - listed, "does not belong to it")):
        if names:
            raise UserError(f"the bundle is not whole: '{min(names)}' {told}", folder, _MEND)
    return {name: _read_checked(folder / name, entry) for name, entry in manifest["files"].items()}, manifest["digest"]


def read_json_bytes(data: bytes, where: Path) -> Any:
    """Parse a JSON file of a bundle.

    Raises
    ------
    UserError
        If it is too large, nested too deeply, or no JSON.
    """
    if len(data) > MOST_JSON_BYTES:
        raise UserError(f"the file has {len(data)} bytes, more than a bundle's JSON can have", where, _MEND)
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"the file is no JSON ({' '.join(str(error).split())})", where, _MEND) from None


def json_bytes(content: Any) -> bytes:
    """Return JSON as a bundle holds it."""
    return _canonical(content)


def _read_manifest(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise UserError("there is no manifest.json, so this is not a sparra bundle", path.parent, _MEND)
    if path.stat().st_size > MOST_MANIFEST_BYTES:
        raise UserError("the manifest is larger than a bundle's can be", path, _MEND)
    data = path.read_bytes()
    manifest = read_json_bytes(data, path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError("this is not the manifest of a sparra bundle", path, _MEND)
    if manifest.get("version") != VERSION:
        mend = "Use the version of sparra that wrote it, or export it anew"
        raise UserError(f"the bundle is of version {manifest.get('version')!r}, not {VERSION}", path, mend)
    if set(manifest) != {"format", "version", "files", "digest"} or not _entries_are_sound(manifest["files"]):
        raise UserError("the manifest is not as a bundle's must be", path, _MEND)
    # Compared as bytes, so that not even a blank may change.
    if manifest["digest"] != _digest(manifest) or data != _canonical(manifest):
        raise UserError("the manifest was changed: its digest does not fit", path, _MEND)
    return manifest


def _entries_are_sound(files: Any) -> bool:
    """Tell whether every name is a plain file's, with no folder in it, and every size can be."""
    if not isinstance(files, dict) or not 0 < len(files) <= MOST_FILES:
        return False
    for name, entry in files.items():
        if not _NAME.fullmatch(name) or len(name) > 100 or name == MANIFEST:
            return False
        if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"} or type(entry["bytes"]) is not int:
            return False
        if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]) or entry["bytes"] < 0:
            return False
    return bool(sum(entry["bytes"] for entry in files.values()) <= MOST_BYTES)


def _read_checked(path: Path, entry: Mapping[str, Any]) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise UserError("a file of the bundle is a link or a folder", path, _MEND)
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise UserError(f"the file has {size} bytes, the manifest says {entry['bytes']}: it was cut or changed", path,
                        _MEND)  # fmt: skip
    # Read once, so that what was checked is what is used.
    data = path.read_bytes()
    if _sha256(data) != entry["sha256"]:
        raise UserError("the file was changed: its SHA-256 is not the manifest's", path, _MEND)
    return data


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _digest(manifest: Mapping[str, Any]) -> str:
    return _sha256(_canonical({key: value for key, value in manifest.items() if key != "digest"}))


def _canonical(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
