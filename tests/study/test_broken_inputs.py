"""Every broken input ends in one clear message: what is wrong, where, and how to mend it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from tests.study.conftest import Sparra, Study

Break = Callable[[Study], None]


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], kind: type = np.uint8) -> None:
    image = sitk.ReadImage(str(path))
    voxels = change(sitk.GetArrayFromImage(image)).astype(kind)
    changed = sitk.GetImageFromArray(voxels)
    changed.SetSpacing(image.GetSpacing())
    changed.SetOrigin(image.GetOrigin())
    changed.SetDirection(image.GetDirection())
    sitk.WriteImage(changed, str(path), useCompression=True)


def mask_of(study: Study) -> Path:
    return study.path(study.image("ct")["mask"])


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def shift_mask(study: Study) -> None:
    image = sitk.ReadImage(str(mask_of(study)))
    image.SetOrigin([o + 7.0 for o in image.GetOrigin()])
    sitk.WriteImage(image, str(mask_of(study)), useCompression=True)


def tiny_mask(voxels: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(voxels)
    kept[tuple(np.argwhere(voxels == 2)[0])] = 2
    return kept


def nan_voxels(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.astype(np.float32)
    changed[changed.shape[0] // 2] = np.nan
    return changed


def bag(study: Study, content: object) -> None:
    path = study.folder / "cohort" / "bag.pt"
    torch.save(content, path)
    row = study.rows("images.csv").index(study.image("slide"))
    study.edit("images.csv", row, path="bag.pt")


def cut_bag(study: Study) -> None:
    bag(study, torch.zeros(20, 8))
    truncate(study.folder / "cohort" / "bag.pt")


def slide_row(study: Study) -> int:
    return study.rows("images.csv").index(study.image("slide"))


def plain_tiff(study: Study, level: int) -> None:
    path = study.path(study.image("slide")["path"])
    pixels = np.full((1024, 1024, 3), level, dtype=np.uint8)
    scale = {"resolution": (20_000.0, 20_000.0), "resolutionunit": "CENTIMETER"} if level == 255 else {}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **scale)


def overlapping_splits(study: Study) -> None:
    names = [row["subject_id"] for row in study.rows("subjects.csv")]
    lines = [f"0,0,{name},train" for name in names] + [f"0,0,{names[0]},test"]
    (study.folder / "splits.csv").write_text("repeat,fold,subject_id,part\n" + "\n".join(lines) + "\n")
    study.change("evaluation", splits="splits.csv")


@pytest.fixture
def small(study: Study) -> Study:
    """A study of three subjects, since each test extracts all of them."""
    names = {row["subject_id"] for row in study.rows("subjects.csv")[:3]}
    for table in ("subjects.csv", "images.csv"):
        study.write_rows(table, [row for row in study.rows(table) if row["subject_id"] in names])
    return study


STUDY_FILE: dict[str, tuple[Break, str]] = {
    "absent study file": (lambda s: s.file.unlink(), "study file does not exist"),
    "no YAML": (lambda s: s.file.write_text("a: [1, 2"), "not valid YAML"),
    "empty study file": (lambda s: s.file.write_text(""), "holds no keys"),
    "unknown key": (lambda s: s.change("training", epohcs=3), "Did you mean 'epochs'?"),
    "unknown nested key": (lambda s: s.change("ct", spacing=1), "Did you mean 'spacing_mm'?"),
    "bad value": (lambda s: s.change("training", epochs="many"), "training.epochs"),
    "unknown aggregator": (lambda s: s.change("methods", aggregators=["abmill"]), "Did you mean 'abmil'?"),
    "method named twice": (lambda s: s.change("methods", aggregators=["mean", "mean"]), "occurs twice"),
    "key named twice": (lambda s: s.file.write_text(s.file.read_text() + "seed: 1\nseed: 2\n"), "occurs twice"),
    "splits that do not exist": (lambda s: s.change("evaluation", splits="nowhere.csv"), "there are no splits here"),
    "output is a file": (lambda s: s.output.write_text("x"), "is a file, not a folder"),
    "absent group column": (
        lambda s: s.change("evaluation", keep_together="sites"), "Did you mean 'site'?",
    ),
    "unknown encoder": (lambda s: s.change("ct", encoder="locl"), "Did you mean 'local'?"),
    "unknown survival model": (
        lambda s: s.change("evaluation", survival_models=["CoxPHH"]), "Did you mean 'CoxPH'?",
    ),
    "absent subjects table": (
        lambda s: (s.folder / "cohort" / "subjects.csv").unlink(), "table does not exist",
    ),
    "column missing": (
        lambda s: (s.folder / "cohort" / "subjects.csv").write_text("subject_id,tme,event\nA,1,1\n"),
        "column 'time' is missing",
    ),
    "more folds than events": (lambda s: s.change("evaluation", folds=50), "use at most"),
    "train and test overlap": (overlapping_splits, "both the training and the test part"),
}  # fmt: skip

SUBJECT_LEVEL: dict[str, tuple[Break, str]] = {
    "NaN time": (lambda s: s.edit("subjects.csv", 0, time="nan"), "time is missing"),
    "negative time": (lambda s: s.edit("subjects.csv", 0, time="-3"), "negative"),
    "status never seen": (lambda s: s.edit("subjects.csv", 0, event="Lost"), "'Lost' is not known"),
    "status missing": (lambda s: s.edit("subjects.csv", 0, event=""), "not the same as censored"),
    "duplicate subject": (lambda s: s.edit("subjects.csv", 1, subject_id="SIM-0001"), "stands in 2 rows"),
    "unknown subject": (lambda s: s.edit("images.csv", 0, subject_id="NOBODY"), "not in subjects.csv"),
    "unknown modality": (lambda s: s.edit("images.csv", 0, modality="mri"), "modality 'mri'"),
    "absent CT": (lambda s: s.path(s.image("ct")["path"]).unlink(), "does not exist"),
    "truncated CT": (lambda s: truncate(s.path(s.image("ct")["path"])), "cut short"),
    "no mask": (lambda s: s.edit("images.csv", 0, mask=""), "this CT has no mask"),
    "empty mask": (lambda s: rewrite(mask_of(s), np.zeros_like), "the mask is empty"),
    "label absent": (lambda s: s.edit("images.csv", 0, label="9"), "label 9 is not in the mask, which holds 1, 2"),
    "one-voxel mask": (lambda s: rewrite(mask_of(s), tiny_mask), "mm³"),
    "mask of another shape": (lambda s: rewrite(mask_of(s), lambda v: v[1:, 2:, 3:]), "voxels, its CT has"),
    "mask shifted": (shift_mask, "mm away from its CT"),
    "NaN voxels": (lambda s: rewrite(s.path(s.image("ct")["path"]), nan_voxels, np.float32), "NaN"),
    "truncated slide": (lambda s: truncate(s.path(s.image("slide")["path"]), 0.4), "cannot open this file as a slide"),
    "no slide at all": (lambda s: s.path(s.image("slide")["path"]).write_text("hello"), "cannot open this file"),
    "slide without mpp": (lambda s: plain_tiff(s, 128), "does not say its resolution (mpp)"),
    "absurd mpp": (lambda s: s.edit("images.csv", slide_row(s), mpp="500"), "500"),
    "blank slide": (lambda s: plain_tiff(s, 255), "holds no stained tissue"),
    "truncated bag": (cut_bag, "truncated"),
    "bag with NaN": (lambda s: bag(s, torch.full((5, 8), torch.nan)), "5 patches hold NaN"),
    "bag of another rank": (lambda s: bag(s, torch.zeros(8)), "shape (8,)"),
    "bag that is no tensor": (lambda s: bag(s, {"a": 1}), "holds a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDY_FILE)
def test_a_study_that_cannot_run_says_why_in_one_message(study: Study, sparra: Sparra, name: str) -> None:
    damage, expected = STUDY_FILE[name]
    damage(study)
    code, printed = sparra("run", study.file)
    assert code == 2, printed
    assert "Traceback" not in printed
    assert "unexpected" not in printed
    told = printed[printed.index("error:") :]
    assert expected in told
    assert len(told.strip().splitlines()) == 1, told


@pytest.mark.parametrize("name", SUBJECT_LEVEL)
def test_a_broken_subject_is_told_in_one_line_and_the_rest_go_on(small: Study, sparra: Sparra, name: str) -> None:
    damage, expected = SUBJECT_LEVEL[name]
    damage(small)
    needs_follow_up = "time" in name or "status" in name
    code, printed = sparra("check" if needs_follow_up else "extract", small.file)
    assert code == 1, printed
    assert "Traceback" not in printed
    assert "unexpected" not in printed
    lines = [line for line in printed.splitlines() if " failed: " in line]
    assert any(expected in line for line in lines), (expected, lines)
    assert len(lines) <= 4, lines


def test_missing_weights_are_told_by_the_check(study: Study, sparra: Sparra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)
    study.change("slide", encoder="uni")
    code, printed = sparra("check", study.file)
    assert code == 1
    assert "weights of 'uni' are not on this machine" in printed
