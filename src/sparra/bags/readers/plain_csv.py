"""Plain tables: ``<slide>.csv``, one row a patch, every column a feature but those of the position.

``x`` and ``y`` are top-left corners in pixels of level 0; ``x_um`` and ``y_um`` centres in µm; ``x_mm``, ``y_mm`` and
``z_mm`` centres in mm (CT). A column without a name, as pandas writes its index, is left out. Names that are numbers
are taken where they count from 0 or 1, as pandas and R give them to columns without any.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import MEND
from sparra.bags.readers.plain import ct_bag
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError
from sparra.memory import beyond_memory, is_out_of_memory

# What pandas calls a column whose head is empty.
UNNAMED = "Unnamed: "
POSITIONS = (("x", "y"), ("x_um", "y_um"), ("x_mm", "y_mm", "z_mm"))


def recognise(path: Path) -> bool:
    """Take any table."""
    return path.is_file()


def read(source: BagSource) -> ForeignBag | Bag:
    """Read the features of one image, with their names.

    Raises
    ------
    UserError
        If the table cannot be read, has no names of columns or no row, a cell is no number, or its positions are in
        two units or lack an axis.
    """
    path = source.path
    table = _table(path)
    given = [names for names in POSITIONS if set(names) & set(table.columns)]
    if len(given) > 1:
        raise UserError(f"it has positions in {len(given)} units", path, "Keep one of them")
    missing = [name for names in given for name in names if name not in table.columns]
    if missing:
        raise UserError(f"positions lack column '{missing[0]}'", path, f"Give {', '.join(given[0])}, or none of them")
    columns = [name for name in table.columns if name not in {part for names in POSITIONS for part in names}]
    features = _numbers(table[columns], path).astype(np.float32)
    names = tuple(map(str, columns))
    positions = _numbers(table[list(given[0])], path) if given else None
    if source.modality == "ct" or (given and given[0] == POSITIONS[2]):
        return ct_bag(features, positions, names, source)
    in_um = bool(given) and given[0] == POSITIONS[1]
    return ForeignBag(
        features,
        positions,
        anchor="centre" if in_um else "corner",
        unit="um" if in_um else "level0",
        feature_names=names,
    )


def _table(path: Path) -> pd.DataFrame:
    if path.stat().st_size == 0:
        raise UserError("the file is empty (0 bytes)", path, MEND)
    try:
        head = _first_row(path)
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (ValueError, OSError, MemoryError, csv.Error) as error:
        if is_out_of_memory(error):
            raise beyond_memory(path, path.stat().st_size, MEND) from error
        raise UserError(f"the table cannot be read ({' '.join(str(error).split())})", path, MEND) from None
    if _are_values(head):
        what = "its first row holds numbers, not names of columns, so a patch would be taken for them"
        raise UserError(what, path, "Write the columns' names first, such as x_um,y_um,f0,f1")
    if not len(table):
        raise UserError("it holds no patch, only names of columns", path, MEND)
    table.columns = [str(name).strip() for name in table.columns]
    return table.loc[:, [not name.startswith(UNNAMED) for name in table.columns]]


def _first_row(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next((row for row in csv.reader(file) if row), [])


def _are_values(row: list[str]) -> bool:
    """Tell whether all cells are numbers, and not just the columns' own."""
    cells = [cell.strip() for cell in row if cell.strip()]
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return False
    return bool(cells) and cells not in ([str(i + first) for i in range(len(values))] for first in (0, 1))


def _numbers(table: pd.DataFrame, path: Path) -> NDArray[Any]:
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
            what = f"column '{name}' holds something other than numbers"
            raise UserError(what, path, "Leave out columns that are no features, and write decimals with a point")
    values: NDArray[Any] = table.to_numpy(dtype=np.float64)
    return values


bag_readers.register("csv")(BagReader("CSV", (".csv",), recognise, read, 90))
