"""Where the µm per pixel of each imported slide comes from."""

from dataclasses import dataclass, field
from pathlib import Path

from sparra.cohort.tables import read_table
from sparra.errors import UserError
from sparra.pathology.suffixes import SUFFIXES

NAME_COLUMNS = ("slide", "slide_id", "wsi", "name", "filename", "path")


@dataclass(frozen=True)
class MppSource:
    """One number for all slides, a table, or the slides themselves.

    Attributes
    ----------
    constant : float or None
    by_name : mapping of str to float
        By the slide's name without suffix.
    slides : mapping of str to Path
        The slide files, by name without suffix.
    """

    constant: float | None = None
    by_name: dict[str, float] = field(default_factory=dict)
    slides: dict[str, Path] = field(default_factory=dict)

    def of(self, name: str) -> float | None:
        """Return the µm per pixel of level 0 of a slide; None where nothing is said.

        Raises
        ------
        UserError
            If its slide file cannot be read or does not say it.
        """
        if name in self.by_name:
            return self.by_name[name]
        if name in self.slides:
            from sparra.pathology.slide import Slide

            with Slide(self.slides[name]) as slide:
                return slide.resolution.x
        return self.constant


def mpp_source(constant: float | None, table: Path | None, slides: Path | None) -> MppSource:
    """Gather what the user gives.

    Parameters
    ----------
    constant : float or None
        For slides that neither the table nor the folder names.
    table : Path or None
        CSV with ``mpp`` and a column that names the slide: slide, slide_id, wsi, name, filename or path.
    slides : Path or None
        Folder of the slides, whose headers are read.

    Raises
    ------
    UserError
        If a number is not positive, the table or folder cannot be read, two slides have one name, or one slide two
        numbers.
    """
    if constant is not None and not 0 < constant < float("inf"):
        raise UserError(f"an mpp of {constant:g} is not possible", mend="Give the µm per pixel of level 0, e.g. 0.25")
    return MppSource(constant, _read_mpp(table) if table else {}, _find_slides(slides) if slides else {})


def _read_mpp(path: Path) -> dict[str, float]:
    rows = read_table(path, ("mpp",))
    column = next((name for name in NAME_COLUMNS if rows.rows and name in rows.rows[0]), None)
    if column is None:
        raise UserError("no column names the slide", path, f"Add one of {', '.join(NAME_COLUMNS)}")
    found: dict[str, float] = {}
    given: dict[str, float] = {}
    for number, row in zip(rows.numbers, rows.rows, strict=True):
        try:
            mpp = float(row["mpp"])
        except ValueError:
            mpp = float("nan")
        if not 0 < mpp < float("inf"):
            raise UserError(f"mpp '{row['mpp']}' is no positive number", f"{path}, row {number}", "Write e.g. 0.25")
        name = Path(row[column]).name
        if given.setdefault(name, mpp) != mpp:
            what = f"slide '{name}' has an mpp of {given[name]:g} and of {mpp:g}"
            raise UserError(what, f"{path}, row {number}", "Keep the row that is true")
        found |= {name: mpp, Path(name).stem: mpp}
    return found


def _find_slides(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError("the folder of slides does not exist", folder, "Correct '--slides'")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            what = f"two slides are called '{path.stem}', so their µm per pixel cannot be told apart"
            raise UserError(what, path, "Give a folder with one of them, or --mpp-table")
        found[path.stem] = path
    return found
