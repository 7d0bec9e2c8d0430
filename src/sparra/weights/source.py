"""Where the weights of a network are published, and where they lie on this machine."""

import importlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sparra.errors import UserError
from sparra.files import is_lfs_pointer

#: Folder of weights that is searched where no path is given: ``<key>/<file>`` or ``<key>.<suffix>`` in it.
WEIGHTS_FOLDER = "SPARRA_WEIGHTS"
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")


@dataclass(frozen=True)
class WeightsSource:
    """One published file of weights.

    Attributes
    ----------
    key : str
        Name of this file in sparra: of its folder in ``$SPARRA_WEIGHTS``, and of its conversion in the cache.
    file : str
        Name of the file as published.
    address : str
        Page where a person gets it.
    hub : str or None
        Repository on the Hugging Face Hub; None where it is published elsewhere.
    revision : str
        Revision there: branch, tag or commit.
    sha256 : str or None
        Of the published file; None where its publisher states none.
    gated : bool
        Whether its terms must be accepted first.
    option : str
        Name of the encoder's option that says where the file is.
    """

    key: str
    file: str
    address: str
    hub: str | None = None
    revision: str = "main"
    sha256: str | None = None
    gated: bool = False
    option: str = "weights"

    @classmethod
    def on_hub(cls, key: str, hub: str, file: str = "pytorch_model.bin", gated: bool = False) -> "WeightsSource":
        """Describe a file of a repository on the Hugging Face Hub, whose page is where a person gets it."""
        return cls(key, file, f"https://huggingface.co/{hub}", hub, gated=gated)


@dataclass(frozen=True)
class FoundWeights:
    """A file of weights on this machine, and where it came from (for the provenance)."""

    path: Path
    origin: str


def find_weights(source: WeightsSource, given: str | None) -> FoundWeights:
    """Find the file of `source` on this machine, or fetch it from the Hub if that was asked for.

    Parameters
    ----------
    source : WeightsSource
    given : str or None
        Path of the file or of the folder that holds it; ``"hub"``, ``"hub:REVISION"`` or ``"hub:REVISION:FILE"``
        for the Hugging Face Hub; None to look in the folder ``$SPARRA_WEIGHTS``. Nothing is fetched unless
        ``hub`` is said.

    Raises
    ------
    UserError
        If there is no such file, or only Git LFS's pointer to it; the sentence says how to get it.
    """
    found = _find(source, given)
    if is_lfs_pointer(found.path):
        mend = f"Run 'git lfs pull' in the clone that it lies in, or: {how_to_get(source)}"
        raise UserError(
            f"this is Git LFS's pointer to the weights of '{source.key}', not the weights", found.path, mend
        )
    return found


def _find(source: WeightsSource, given: str | None) -> FoundWeights:
    if given is None:
        return _in_folder(source)
    if given == "hub" or given.startswith("hub:"):
        _, revision, file, *_ = f"{given}::".split(":")
        return _from_hub(source, revision or source.revision, file or source.file)
    path = Path(given).expanduser()
    path = path / source.file if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"the weights of '{source.key}' are not there", path, how_to_get(source))
    return FoundWeights(path, "file")


def how_to_get(source: WeightsSource) -> str:
    """Return one sentence: where the weights are and how to hand them over."""
    terms = ", accept its terms" if source.gated else ""
    hub = " or 'hub' to fetch it with your Hugging Face token" if source.hub else ""
    return (
        f"Open {source.address}{terms}, and set '{source.option}' in encoder_options to the file '{source.file}'"
        f"{hub}, or put it at ${WEIGHTS_FOLDER}/{source.key}/{source.file}"
    )


def _in_folder(source: WeightsSource) -> FoundWeights:
    folder = os.environ.get(WEIGHTS_FOLDER)
    if folder:
        root = Path(folder).expanduser()
        for path in (root / source.key / source.file, *(root / f"{source.key}{suffix}" for suffix in SUFFIXES)):
            if path.is_file():
                return FoundWeights(path, "folder")
    raise UserError(f"the weights of '{source.key}' are not on this machine", mend=how_to_get(source))


@lru_cache
def _from_hub(source: WeightsSource, revision: str, file: str) -> FoundWeights:
    if source.hub is None:
        raise UserError(f"the weights of '{source.key}' are not on the Hugging Face Hub", mend=how_to_get(source))
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        mend = "Run: pip install 'sparra[hub]', or give the file's path"
        raise UserError("fetching from the Hub needs the package huggingface_hub", mend=mend) from None
    try:
        # The token is the user's own (HF_TOKEN or `hf auth login`); it is neither read nor kept here.
        path = Path(hub.hf_hub_download(source.hub, file, revision=revision))
    except Exception as error:  # A download that breaks off raises whatever its HTTP library does.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what = f"'{file}' of {source.hub} cannot be fetched ({reason})"
        raise UserError(what, mend=how_to_get(source)) from None
    return FoundWeights(path, f"hub:{source.hub}@{_commit_of(path) or revision}")


def _commit_of(path: Path) -> str | None:
    """Read the commit from the Hub's cache, where files lie under ``snapshots/<commit>/``."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None
