"""Where a mask comes from: a small JSON beside it, written by whoever made it, carried into the bag."""

import json
from pathlib import Path
from typing import Any

from sparra.files import read_json, sha256_of, write_json


def provenance_path(mask: Path) -> Path:
    """Return where a mask's provenance lies: beside it, with ``.provenance.json`` added to the name."""
    return mask.with_name(mask.name + ".provenance.json")


def write_mask_provenance(mask: Path, content: dict[str, Any]) -> None:
    """Write where a finished mask comes from, with its hash, so that a changed mask is told from it."""
    write_json(provenance_path(mask), {**content, "mask_sha256": sha256_of(mask)})


def read_mask_provenance(mask: Path) -> dict[str, Any]:
    """Return what is known of a mask's origin; ``{"source": "given"}`` where there is no note.

    A note that the mask no longer agrees with gives ``{"source": "changed"}`` with the note under ``was``.
    """
    path = provenance_path(mask)
    if not path.is_file():
        return {"source": "given"}
    try:
        noted: dict[str, Any] = read_json(path)
        unchanged = noted.pop("mask_sha256") == sha256_of(mask)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError):
        return {"source": "given"}
    return noted if unchanged else {"source": "changed", "was": noted}
