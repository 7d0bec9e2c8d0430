"""The file that says "done": written last, it holds what an output was made from."""

import hashlib
import os
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sparra import __version__
from sparra.files import read_json, sha256_of, write_json

Key = dict[str, Any]

# The packages whose numbers a stage's output holds; a new version of one makes the output out of date.
PACKAGES_OF_STAGE = {
    "extract": ("numpy", "scipy", "scikit-image", "simpleitk", "openslide-python", "openslide-bin"),
    "sheets": ("numpy", "pillow"),
    "import": ("numpy", "h5py", "zarr"),
    "robustness": ("numpy", "scipy", "scikit-image", "simpleitk"),
    "graph": ("numpy", "scipy"),
    "train": ("numpy", "torch"),
    "evaluate": ("numpy", "scikit-learn", "scikit-survival"),
    "maps": ("numpy", "torch", "highdicom", "matplotlib", "pillow", "tifffile"),
}
# Raised when a stage's own code comes to give other results, so that what an older state made is made anew.
# extract 2: tiles from the outline itself (before, some slides got background); finer tiles are brought to 0.5 µm
# a pixel as slides are read. extract 3: means of pixels begin at the border of the level and not at the tile; ink of
# all four pens (robustness as extract). extract 4: Lanczos in 16 bits, other by a grey level in a fifth of the pixels.
# train 2: the gate of `default` is centred by the patient. train 3: importance of dropped nodes under a joint gate.
# evaluate 2: in the protocol `paper` an inner fold without an AUC takes no part in the tuning (before, the first
# candidate was the best). maps 2: a patch's score is its node's importance, no longer divided by the node's patches;
# insertion starts from average nodes.
REVISION_OF_STAGE = {"extract": 4, "robustness": 3, "train": 3, "evaluate": 3, "maps": 2}


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what identifies a content: sha256; size and time of change spare a second hashing."""
    stamp = _stamp(path)
    return {"path": str(path), **stamp, "sha256": _sha256_once(path, tuple(stamp.items()))}


@lru_cache(maxsize=2**16)
def _sha256_once(path: Path, _stamp: tuple[tuple[str, int | str], ...]) -> str:
    """Return the hash of a content that `_stamp` tells apart; a slide is read once a process, however often asked."""
    return sha256_of(path)


def make_key(stage: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any]) -> Key:
    """Return the key of an output: its stage, the hashes of its inputs, its parameters, the versions."""
    return {
        "stage": stage,
        "inputs": {name: fingerprint(path) for name, path in sorted(inputs.items())},
        "parameters": dict(parameters),
        "versions": _versions(stage),
    }


@cache
def version(package: str) -> str:
    """Return the version of an installed package; it is read from disk once."""
    return metadata.version(package)


def _versions(stage: str) -> dict[str, str]:
    revision = {"stage": str(REVISION_OF_STAGE[stage])} if stage in REVISION_OF_STAGE else {}
    return {"sparra": __version__, **revision, **{name: version(name) for name in PACKAGES_OF_STAGE[stage]}}


def sidecar_path(output: Path) -> Path:
    """Return where the sidecar of `output` lies: beside it, with ``.done.json`` added to the name."""
    return output.with_name(output.name + ".done.json")


def is_current(
    output: Path, stage: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any], renew: bool = False
) -> bool:
    """Tell whether `output` is complete and was made from just these inputs and parameters.

    Parameters
    ----------
    output : Path
    stage : str
    inputs : mapping of str to Path
    parameters : mapping
    renew : bool
        Whether to note where inputs lie now that were moved or touched, else they are hashed again the next time too.
        For the run that holds the study's lock alone: nobody may be at work on `output`.
    """
    sidecar = sidecar_path(output)
    if not output.exists() or not sidecar.exists():
        return False
    try:
        done = read_json(sidecar)
        same = done["stage"] == stage and done["versions"] == _versions(stage)
        same = same and done["parameters"] == dict(parameters) and done["output"] == _stamp(output)["size"]
        if not same or not _same_inputs(done["inputs"], inputs):
            return False
        if renew and not all(_is_unmoved(done["inputs"][name], path) for name, path in inputs.items()):
            found = {name: fingerprint(path) for name, path in sorted(inputs.items())}
            write_json(sidecar, {**done, "inputs": found})
        return True
    except (ValueError, KeyError, TypeError):
        return False
    except OSError:  # An input that cannot be looked at now costs its own item, which tells why, and no other.
        return False


def begin(output: Path) -> None:
    """Remove the sidecar before an output is written anew, so that the old one never vouches for the new."""
    sidecar_path(output).unlink(missing_ok=True)


def mark_done(output: Path, key: Key) -> None:
    """Write the sidecar of a finished output."""
    write_json(sidecar_path(output), {**key, "output": _stamp(output)["size"]})


def _same_inputs(known: Mapping[str, Any], inputs: Mapping[str, Path]) -> bool:
    if set(known) != set(inputs):
        return False
    for name, path in inputs.items():
        if not path.exists():
            return False
        if not _is_unmoved(known[name], path) and known[name]["sha256"] != fingerprint(path)["sha256"]:
            return False
    return True


def _is_unmoved(known: Mapping[str, Any], path: Path) -> bool:
    stamp = _stamp(path)
    return bool(known["path"] == str(path) and all(known.get(key) == value for key, value in stamp.items()))


def _stamp(path: Path) -> dict[str, int | str]:
    """Return size and time of change; of a folder, of each file: one of the same size may be older than the newest."""
    if not path.is_dir():
        stat = path.stat()
        return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    size, listing = 0, hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        stat = file.stat()
        size += stat.st_size
        listing.update(os.fsencode(file.relative_to(path)) + b"\0%d %d\n" % (stat.st_size, stat.st_mtime_ns))
    return {"size": size, "listing": listing.hexdigest()}
