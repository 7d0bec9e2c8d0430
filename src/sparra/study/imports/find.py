"""Which files of a folder are bags, and of which slide each is."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparra.bags.readers import bag_readers, find_reader, is_bag_file
from sparra.bags.readers.slide2vec_numpy import is_whole_slide
from sparra.cohort.problems import Problem
from sparra.errors import UserError

# Files that go with bags but are none themselves, and why they are passed over.
COMPANIONS = "coordinates or settings that go with a bag"
WHOLE_SLIDES = "features of whole slides or patients"
TWICE = "the same features as the .h5 beside it"
NO_FEATURES = "no features"
_COMPANION_NAMES = re.compile(
    r"([._](position|coordinates|coords|index)\.np[yz]|\.tiles\.npz|\.meta\.json|^coords\.npy|^bags_config\.json)$"
)
_WHOLE_FOLDERS = re.compile(r"^(slide_features_.+|slide_embeddings|patient_embeddings|slide_latents)$")
_HEAD_BYTES = 1 << 16
FILES_NAMED = 3


@dataclass(frozen=True)
class FoundBag:
    """One feature file of a folder.

    Attributes
    ----------
    path : Path
    name : str
        Of the slide, as the format tells it.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    Attributes
    ----------
    bags : list of FoundBag
        Sorted by path; no two of one name.
    skipped : mapping of str to int
        Number of files passed over, by reason.
    problems : list of Problem
        Files of one name, none of which can be taken for the slide.
    """

    bags: list[FoundBag]
    skipped: dict[str, int]
    problems: list[Problem]


def find_bags(source: Path, reader: str | None = None, leave: Path | None = None) -> Found:
    """Find every feature file below a folder.

    Parameters
    ----------
    source : Path
        A folder, or one file.
    reader : str, optional
        Format of all of them; else it is told from each. CSV files are taken only where it says so.
    leave : Path, optional
        Folder below `source` not to look into.

    Raises
    ------
    UserError
        If there is no such folder, or no feature file in it.
    """
    if not source.exists():
        raise UserError("there is no such file or folder", source, "Correct the path")
    if leave is not None and leave.resolve() == source.resolve():
        raise UserError("the folder to write to is the folder to read", source, "Give another '--out'")
    if reader is not None or (source.is_file() and not is_bag_file(source)):
        find_reader(source, reader)
    skipped: Counter[str] = Counter()
    paths = [source] if source.is_file() or is_bag_file(source) else []
    for path in [] if paths else _walk(source, leave):
        why = _why_not(path, reader)
        if why is None:
            paths.append(path)
        elif why:
            skipped[why] += 1
    if not paths:
        told = "; ".join(f"{count} files are {why}" for why, count in skipped.items())
        tables = reader is None and any(path.suffix.lower() == ".csv" for path in _walk(source, leave))
        mend = "If its CSV files hold features, give '--format csv'" if tables else "See docs/import.md"
        raise UserError(f"there is no feature file{f' ({told})' if told else ''}", source, mend)
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_name[_slide_name(path, reader)].append(path)
    bags = [FoundBag(same[0], name) for name, same in by_name.items() if len(same) == 1]
    problems = [_collision(name, path, same) for name, same in by_name.items() if len(same) > 1 for path in same]
    return Found(sorted(bags, key=lambda bag: str(bag.path)), dict(skipped), problems)


def _walk(folder: Path, leave: Path | None) -> Iterator[Path]:
    """Yield files, and folders that are one bag, in sorted order."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (leave is not None and path.resolve() == leave.resolve()):
            continue
        if path.is_dir() and path.suffix.lower() != ".zarr":
            yield from _walk(path, leave)
        elif path.is_dir() or path.is_file():  # A pipe of such a name would be waited on for ever.
            yield path


def _why_not(path: Path, reader: str | None) -> str | None:
    """Return why a path is no bag to import; None if it is one, nothing if it need not be told."""
    suffixes = bag_readers[reader].suffixes if reader else None
    if not is_bag_file(path) or (suffixes and path.suffix.lower() not in suffixes):
        return ""
    if companion_reason(path) is not None:
        return COMPANIONS
    if any(_WHOLE_FOLDERS.match(folder.name) for folder in list(path.parents)[:2]) or is_whole_slide(path):
        return WHOLE_SLIDES
    if path.parent.name == "pt_files" and (path.parent.parent / "h5_files" / f"{path.stem}.h5").exists():
        return TWICE
    if path.suffix.lower() == ".csv" and reader is None:
        return ""
    if path.suffix.lower() == ".json" and not _may_be_graph(path):
        return NO_FEATURES
    return None


def companion_reason(path: Path) -> str | None:
    """Return what a file is that goes with a bag and is none; None for any other file."""
    folder, suffix = path.parent, path.suffix.lower()
    planned = folder.name == "patches" and suffix == ".h5"
    tiles = folder.name == "coordinates" and suffix == ".npy" and (folder.parent / "features").is_dir()
    return COMPANIONS if planned or tiles or _COMPANION_NAMES.search(path.name) else None


def _may_be_graph(path: Path) -> bool:
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    return any(key in head for key in (b'"x"', b'"coordinates"', b'"edge_index"'))


def _slide_name(path: Path, reader: str | None) -> str:
    try:
        return bag_readers[find_reader(path, reader)].slide_name(path)
    except UserError:
        return path.stem  # Of a file that is damaged, which the import tells.


def _collision(name: str, path: Path, same: list[Path]) -> Problem:
    others = [str(other) for other in same if other != path]
    told = ", ".join(others[:FILES_NAMED]) + (", …" if len(others) > FILES_NAMED else "")
    what = f"slide '{name}' has {len(same)} files, also {told}"
    mend = "Import one encoder's folder at a time, and give slides of one name different names"
    return Problem(what, str(path), mend, name, stage="import")
