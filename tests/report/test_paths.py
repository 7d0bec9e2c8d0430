import pandas as pd
import pytest
from tests.report.conftest import build_study

from sparra.files import read_json, write_json
from sparra.report.page import write_report
from sparra.report.paths import without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/Doe Jane/ct.nii.gz, row 3", "ct.nii.gz, row 3"),
        (r"D:\scans\Doe\ct.nii.gz", "ct.nii.gz"),
        (r"\\server\share\Doe\ct.nii.gz", "ct.nii.gz"),
        ("the mask '/data/Doe/mask.nii' has 3 mm/px, see https://example.org/a/b", None),
        ("low/high, </b>, 1/2, hub:org/name, ct/scan.nii", "low/high, </b>, 1/2, hub:org/name, ct/scan.nii"),
        ("the mask '/data/Doe Jane/mask.nii' is empty", "the mask 'mask.nii' is empty"),
        ("see file:///data/Doe/ct.nii, please", "see ct.nii, please"),
        ("/data/a.nii: 3/4 slices are missing", "a.nii: 3/4 slices are missing"),
        ("", ""),
    ],
)
def test_an_absolute_path_is_cut_to_its_last_name(text: str, shown: str | None) -> None:
    expected = "the mask 'mask.nii' has 3 mm/px, see https://example.org/a/b" if shown is None else shown
    assert without_folders(text) == expected
    assert without_folders({"a": [text, 1, None]}) == {"a": [expected, 1, None]}


def test_keys_are_cut_too() -> None:
    assert without_folders({"/data/Doe Jane/a.nii": "/data/Doe Jane/b.nii"}) == {"a.nii": "b.nii"}


def test_neither_page_nor_its_tables_name_a_folder_of_this_machine(tmp_path) -> None:
    layout = build_study(tmp_path / "Doe Jane" / "output", ("slide",), n_subjects=12)
    images = tmp_path / "Doe Jane" / "images.csv"
    settings = {"cohort": {"images": str(images)}, "slide": {"encoder_options": {"weights": str(images)}},
                "output": str(layout.root)}  # fmt: skip
    write_json(layout.settings, read_json(layout.settings) | settings)
    failures = pd.read_csv(layout.failures)
    failures["where"] = str(layout.root / "scan.nii.gz")
    failures["what"] = f"'{layout.root / 'scan.nii.gz'}' is empty, unlike {layout.root / 'other.nii.gz'}"
    failures.to_csv(layout.failures, index=False)
    flow = read_json(layout.flow)
    flow["excluded"] = failures.iloc[1:].to_dict("records")
    write_json(layout.flow, flow)
    # A map that cannot be drawn says what is lacking.
    for bag in (layout.root / "features" / "slide").glob("*.h5"):
        bag.unlink()
    page = write_report(layout).read_text(encoding="utf-8")
    assert "the bag of features is not there any more" in page
    assert "scan.nii.gz" in page
    for path in layout.report.parent.glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert "Doe Jane" not in text, path.name
        assert str(tmp_path) not in text, path.name
