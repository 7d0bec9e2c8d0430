"""Looking at bags: ours and those that other tools wrote."""

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.encoder_names import common_name, names_of_dimension
from sparra.bags.foreign import BagSource, ForeignBag, bag_of
from sparra.bags.readers import bag_readers, find_reader, read_foreign
from sparra.bags.readers.hdf5 import open_hdf5
from sparra.bags.store import own_item
from sparra.errors import UserError
from sparra.inspection.report import Report
from sparra.study.imports.find import companion_reason, find_bags

DATASETS_SHOWN = 12
UNKNOWN = "{} file, damaged or of no known format"
UNITS = {"level0": "pixels of level 0", "grid": "pixels of the resolution that tiles were read at", "um": "µm"}


def inspect_bag(source: BagSource, reader: str | None = None) -> Report:
    """Look at one feature file, whether or not it is usable."""
    path = source.path
    why = companion_reason(path) if reader is None else None
    if why is not None:
        mend = "Give the file of features"
        return Report(path, "coordinates", why, False, [f"it holds {why}, no features. {mend}."])
    try:
        reader = find_reader(path, reader)
    except UserError as error:
        holds = _contents(path) if path.suffix.lower() == ".h5" else None
        # Not "see what it holds": whoever is here was sent to look.
        told = UserError(error.what, mend="Bring it into one of the formats of docs/import.md") if holds else error
        return Report(path, "bag", UNKNOWN.format(path.suffix or "no"), False, [_reason(told)], {"holds": holds})
    try:
        name, content = read_foreign(source, reader)
    except UserError as error:
        return Report(path, "bag", bag_readers[reader].title, False, [_reason(error)])
    title = bag_readers[name].title
    if isinstance(content, Bag):
        return Report(path, "bag", title, True, facts=_facts_of_bag(content), notes=_notes(content))
    facts = _facts_of_foreign(content)
    try:
        bag = bag_of(content, source)
    except UserError as error:
        return Report(path, "bag", title, False, [_reason(error)], facts)
    facts["as_a_bag"] = {"patches": len(bag), "tile_um": _side(bag), **_extent(bag)}
    return Report(path, "bag", title, True, [], facts, _notes(bag))


def inspect_folder(path: Path) -> Report:
    """Look at a folder: how many bags of which formats lie in it."""
    try:
        found = find_bags(path)
    except UserError as error:
        reason = f"no DICOM series lies in it, and {_reason(error)}"
        return Report(path, "folder", "of nothing that sparra reads", False, [reason])
    formats: Counter[str] = Counter()
    reasons = [str(problem) for problem in found.problems]
    for bag in found.bags:
        try:
            formats[bag_readers[find_reader(bag.path)].title] += 1
        except UserError as error:
            reasons.append(f"{bag.path}: {_reason(error)}")
    facts = {"bags": dict(formats.most_common()), "passed_over": found.skipped or None}
    notes = [] if reasons else ["'sparra import' brings them into sparra's own format"]
    return Report(path, "folder", "of bags", not reasons, reasons, facts, notes)


def _contents(path: Path) -> dict[str, list[int]] | None:
    """Return the shapes of the first datasets of an HDF5 file; None for a damaged one and any other file."""
    shapes: dict[str, list[int]] = {}
    try:
        with open_hdf5(path) as file:
            for name in file:
                item = own_item(file, name)
                inside = (
                    {f"{name}/{part}": own_item(item, part) for part in item} if isinstance(item, h5py.Group) else {}
                )
                for place, found in {name: item, **inside}.items():
                    if isinstance(found, h5py.Dataset) and found.shape is not None and len(shapes) < DATASETS_SHOWN:
                        shapes[place] = list(found.shape)
    except UserError:
        return None
    return shapes or None


def _reason(error: UserError) -> str:
    return f"{error.what.rstrip('.')}. {error.mend.rstrip('.')}." if error.mend else f"{error.what.rstrip('.')}."


def _facts_of_bag(bag: Bag) -> dict[str, Any]:
    encoder = bag.provenance.get("encoder")
    return {
        "modality": bag.modality,
        "features": list(bag.features.shape),
        "type": str(bag.features.dtype),
        "encoder": encoder.get("name") if isinstance(encoder, dict) else encoder,
        "positions": None if bag.positions is None else list(bag.positions.shape),
        "unit": bag.unit,
        "tile": _side(bag),
        "mpp": bag.provenance.get("mpp") or bag.provenance.get("slide", {}).get("mpp_x"),
        "repeated_positions": _repeats(bag.positions),
        "rows_with_nan": 0,
        "rows_of_zeros": int((~np.asarray(bag.features).any(axis=1)).sum()),
        **_extent(bag),
    }


def _facts_of_foreign(content: ForeignBag) -> dict[str, Any]:
    features, positions = content.features, content.positions
    facts: dict[str, Any] = {"features": list(features.shape), "type": str(features.dtype), "encoder": content.encoder}
    if content.encoder is not None:
        facts["encoder"] = common_name(content.encoder)
    elif features.ndim > 1:
        facts["would_fit"] = names_of_dimension(features.shape[-1]) or None
    facts["positions"] = None if positions is None else list(positions.shape)
    if positions is not None:
        anchor = "top-left corners" if content.anchor == "corner" else "centres"
        facts |= {"unit": UNITS[content.unit], "positions_are": anchor, "mpp": content.mpp}
        facts |= {"magnification": content.magnification, "tile_side": content.side}
        facts["tile_side_um"] = content.side_um if content.side is None else None
        facts["repeated_positions"] = _repeats(positions)
    if features.dtype.kind == "f" and features.size:
        rows = features.reshape(-1, features.shape[-1]) if features.ndim > 1 else features.reshape(1, -1)
        facts["rows_with_nan"] = int((~np.isfinite(rows).all(axis=1)).sum())
        facts["rows_of_zeros"] = int((~rows.any(axis=1)).sum())
    return facts


def _repeats(positions: NDArray[Any] | None) -> int | None:
    if positions is None or positions.ndim != 2 or positions.dtype.kind not in "iuf":
        return None
    return len(positions) - len(np.unique(positions, axis=0))


def _side(bag: Bag) -> list[float] | None:
    return None if bag.patch_size is None else [round(side, 6) for side in bag.patch_size]


def _extent(bag: Bag) -> dict[str, Any]:
    if bag.positions is None:
        return {}
    span = bag.positions.max(axis=0) - bag.positions.min(axis=0)
    return {f"extent_{bag.unit}": [round(float(side), 3) for side in span]}


def _notes(bag: Bag) -> list[str]:
    return [str(note) for note in bag.provenance.get("notes", [])]
