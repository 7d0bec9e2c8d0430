"""What a file is, what it holds, and whether sparra can use it."""

from pathlib import Path

from sparra.bags.foreign import BagSource
from sparra.bags.readers import is_bag_file
from sparra.errors import UserError
from sparra.inspection.bags import inspect_bag, inspect_folder
from sparra.inspection.images import holds_dicom, inspect_dicom_folder, inspect_slide, inspect_volume
from sparra.inspection.report import Report, report_lines
from sparra.inspection.results import inspect_model, inspect_table, inspect_tensors, is_table
from sparra.radiology.volume import is_volume_file

__all__ = ["Report", "inspect_file", "report_lines"]


def inspect_file(source: BagSource, reader: str | None = None) -> Report:
    """Look at any file or folder.

    Parameters
    ----------
    source : BagSource
        Path, and what is said of it elsewhere.
    reader : str, optional
        Format of a bag, where the user says it.

    Raises
    ------
    UserError
        If there is no such file.
    """
    path = source.path
    if not path.exists():
        raise UserError("there is no such file or folder", path, "Correct the path")
    if reader is not None or is_bag_file(path):
        return _bag_or_other(source, reader)
    if path.is_dir():
        return _inspect_folder(path)
    if path.suffix.lower() == ".safetensors":
        return inspect_tensors(path)
    if is_volume_file(path):
        return inspect_volume(path)
    return inspect_slide(path, source.mpp)


def _bag_or_other(source: BagSource, reader: str | None) -> Report:
    if source.path.name == "model.json":
        return inspect_model(source.path.parent)
    if source.path.suffix.lower() == ".csv" and reader is None and is_table(source.path):
        return inspect_table(source.path)
    return inspect_bag(source, reader)


def _inspect_folder(path: Path) -> Report:
    if (path / "model.json").is_file():
        return inspect_model(path)
    if holds_dicom(path):
        return inspect_dicom_folder(path)
    return inspect_folder(path)
