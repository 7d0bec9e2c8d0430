import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tests.segmentation.conftest import no_track

from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.radiology.geometry import Grid
from sparra.radiology.masks.provenance import provenance_path, read_mask_provenance
from sparra.segmentation.delivery import COLUMNS
from sparra.segmentation.network import Model
from sparra.segmentation.predict import predict_cohort, take_over_masks

KITS_LABELS = {1: 1, 2: 2, 3: 3}


@pytest.fixture
def cohort(kits: Path, tmp_path: Path) -> Path:
    """Three CTs, one of them broken, and one that is absent; the images table."""
    for index in range(3):
        shutil.copy(kits / f"case_0000{index}" / "imaging.nii.gz", tmp_path / f"ct{index}.nii.gz")
    broken = tmp_path / "ct2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:5000])
    rows = [f"P{index},ct,ct{index}.nii.gz,{2 if index == 0 else ''}" for index in range(4)]
    table = tmp_path / "images.csv"
    table.write_text("\n".join(["subject_id,modality,path,label", *rows, "P0,slide,a.svs,"]))
    return table


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "review.csv").open(newline="") as handle:
        reader = csv.DictReader(handle)
        assert reader.fieldnames == COLUMNS
        return {row["subject_id"]: row for row in reader}


def test_a_cohort_is_segmented_whatever_fails(cohort: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[str] = []

    def track(items: list, label: str, total: int) -> list:
        told.append(label)
        return items

    problems = predict_cohort(cohort, model, out, track)
    assert [(p.subject_id, p.stage) for p in problems] == [("P2", "segment"), ("P3", "segment")]
    assert "cut short" in problems[0].what
    assert told == ["P0 (1/4)", "P1 (2/4)"]
    rows = rows_of(out)
    assert "does not exist" in rows["P3"]["flags"]
    assert rows["P3"]["mask"] == ""
    assert all(row["decision"] == "" for row in rows.values()), "nobody has looked yet"
    mask = out / rows["P0"]["mask"]
    ct, labels = sitk.ReadImage(str(tmp_path / "ct0.nii.gz")), sitk.ReadImage(str(mask))
    assert Grid.of(ct).size == Grid.of(labels).size
    np.testing.assert_allclose(Grid.of(ct).origin, Grid.of(labels).origin, atol=1e-4)
    assert set(np.unique(sitk.GetArrayFromImage(labels))) <= {0, 1, 2, 3}
    assert (out / rows["P0"]["montage"]).exists()
    note = json.loads(provenance_path(mask).read_text())
    assert note["source"] == "SPARRA SegResNet"
    assert note["model_sha256"] == model.card.weights_sha256 == rows["P0"]["model_sha256"]
    assert note["image_sha256"] == sha256_of(tmp_path / "ct0.nii.gz")
    assert note["quality"]["flags"] == (rows["P0"]["flags"].split("; ") if rows["P0"]["flags"] else [])
    assert rows["P0"]["mask_sha256"] == sha256_of(mask)


def test_what_is_done_is_not_done_twice(cohort: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_cohort(cohort, model, out, no_track)
    first = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    mask = out / rows_of(out)["P1"]["mask"]
    mask.unlink()
    predict_cohort(cohort, model, out, no_track)
    second = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    changed = {path for path in first if first[path] != second[path]}
    assert changed == {mask, provenance_path(mask)}


def test_a_corrected_mask_is_judged_anew_and_never_made_again(kits: Path, model: Model, tmp_path: Path) -> None:
    out, table, ct = tmp_path / "out", tmp_path / "images.csv", kits / "case_00000" / "imaging.nii.gz"
    table.write_text(f"subject_id,modality,path\nP0,ct,{ct}\n")
    predict_cohort(table, model, out, no_track)
    first = rows_of(out)["P0"]
    mask = out / first["mask"]
    shutil.copy(kits / "case_00000" / "segmentation.nii.gz", mask)
    corrected = mask.read_bytes()
    for _ in range(2):
        assert predict_cohort(table, model, out, no_track) == []
        assert mask.read_bytes() == corrected
        row = rows_of(out)["P0"]
        assert row["source"] == "SPARRA SegResNet, corrected by hand"
        assert row["mask_sha256"] == sha256_of(mask)
        assert row["tumour_confidence"] == ""
    labels = sitk.ReadImage(str(mask))
    voxel_ml = float(np.prod(labels.GetSpacing())) / 1000
    assert row["tumour_ml"] == f"{(sitk.GetArrayFromImage(labels) == 2).sum() * voxel_ml:.2f}"
    mask.write_bytes(b"damaged")
    problems = predict_cohort(table, model, out, no_track)
    assert "changed by hand" in problems[0].what
    assert problems[0].mend == "Correct it, or delete it to have it made anew"
    assert mask.read_bytes() == b"damaged"


def test_a_mask_of_nobodys_is_kept_and_an_unfinished_one_made_again(kits: Path, model: Model, tmp_path: Path) -> None:
    out, table, ct = tmp_path / "out", tmp_path / "images.csv", kits / "case_00000" / "imaging.nii.gz"
    table.write_text(f"subject_id,modality,path\nP0,ct,{ct}\n")
    predict_cohort(table, model, out, no_track)
    mask = out / rows_of(out)["P0"]["mask"]
    made, note = mask.read_bytes(), provenance_path(mask).read_text()
    shutil.copy(kits / "case_00000" / "segmentation.nii.gz", mask)
    own = mask.read_bytes()
    for damaged in (None, "{"):
        provenance_path(mask).unlink() if damaged is None else provenance_path(mask).write_text(damaged)
        problems = predict_cohort(table, model, out, no_track)
        assert "no note beside it says that it was made here" in problems[0].what
        assert mask.read_bytes() == own
    provenance_path(mask).write_text('{"source": "unfinished"}')  # As a run leaves it that is killed while it writes.
    assert predict_cohort(table, model, out, no_track) == []
    assert (mask.read_bytes(), provenance_path(mask).read_text()) == (made, note)


def test_a_mask_corrected_here_and_there_is_told(kits: Path, tmp_path: Path) -> None:
    table, original = tmp_path / "images.csv", tmp_path / "mask.nii.gz"
    shutil.copy(kits / "case_00000" / "segmentation.nii.gz", original)
    ct = kits / "case_00000" / "imaging.nii.gz"
    table.write_text(f"subject_id,modality,path,mask\nP0,ct,{ct},{original}\n")
    assert take_over_masks(table, None, KITS_LABELS, "nnU-Net", tmp_path / "out", no_track) == []
    mask = tmp_path / "out" / rows_of(tmp_path / "out")["P0"]["mask"]
    labels = sitk.ReadImage(str(original))
    without_kidney = (labels == 2) * 2
    sitk.WriteImage(without_kidney, str(mask))
    assert take_over_masks(table, None, KITS_LABELS, "nnU-Net", tmp_path / "out", no_track) == []
    sitk.WriteImage(without_kidney, str(original))
    problems = take_over_masks(table, None, KITS_LABELS, "nnU-Net", tmp_path / "out", no_track)
    assert "the file that it was made from has changed since" in problems[0].what


@pytest.mark.parametrize("name", ["{stem}", "{subject}"])
def test_masks_of_others_enter_by_name(kits: Path, cohort: Path, tmp_path: Path, name: str) -> None:
    """nnU-Net names its label maps by the image, less the channel's number."""
    masks = tmp_path / "nnunet"
    masks.mkdir()
    for index in (0, 1):
        (tmp_path / f"ct{index}.nii.gz").rename(tmp_path / f"scan{index}_0000.nii.gz")
        source = kits / f"case_0000{index}" / "segmentation.nii.gz"
        shutil.copy(source, masks / f"{name.format(stem=f'scan{index}', subject=f'P{index}')}.nii.gz")
    cohort.write_text(cohort.read_text().replace(",ct0.", ",scan0_0000.").replace(",ct1.", ",scan1_0000."))
    problems = take_over_masks(cohort, masks, KITS_LABELS, "nnU-Net", tmp_path / "out", no_track)
    assert [p.subject_id for p in problems] == ["P2", "P3"]
    assert "no mask named ct2 or P2" in problems[0].what
    rows = rows_of(tmp_path / "out")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / rows["P0"]["mask"])))
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(kits / "case_00000" / "segmentation.nii.gz")))
    np.testing.assert_array_equal(written, expected)
    assert rows["P0"]["source"] == "nnU-Net"
    assert float(rows["P0"]["tumour_ml"]) == pytest.approx((expected == 2).sum() * 36 / 1000, abs=0.01)
    note = read_mask_provenance(tmp_path / "out" / rows["P0"]["mask"])
    assert note["original_sha256"] == rows["P0"]["original_sha256"]


def test_other_labels_and_unions_are_brought_to_those_of_kits(kits: Path, tmp_path: Path) -> None:
    labels = sitk.ReadImage(str(kits / "case_00000" / "segmentation.nii.gz"))
    voxels = sitk.GetArrayFromImage(labels)
    other = sitk.GetImageFromArray(np.choose(voxels, [0, 5, 8, 9]).astype(np.uint8))
    other.CopyInformation(labels)
    sitk.WriteImage(other, str(tmp_path / "other.nii.gz"))
    shutil.copy(kits / "case_00000" / "imaging.nii.gz", tmp_path / "ct.nii.gz")
    table = tmp_path / "images.csv"
    table.write_text("subject_id,modality,path,mask\nP1,ct,ct.nii.gz,other.nii.gz\n")
    assert not take_over_masks(table, None, {1: 5, 2: (8, 9)}, "a radiologist", tmp_path / "out", no_track)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / rows_of(tmp_path / "out")["P1"]["mask"])))
    np.testing.assert_array_equal(written, np.choose(voxels, [0, 1, 2, 2]))
    (problem,) = take_over_masks(table, None, {2: 7}, "a radiologist", tmp_path / "two", no_track)
    assert "label 7 is not in the mask" in problem.what
    with pytest.raises(UserError, match="no such folder"):
        take_over_masks(table, tmp_path / "none", {2: 7}, "nnU-Net", tmp_path / "two", no_track)
    table.write_text("subject_id,modality,path\nP1,slide,a.svs\n")
    with pytest.raises(UserError, match="lists no CT"):
        take_over_masks(table, None, {2: 7}, "nnU-Net", tmp_path / "two", no_track)


def test_a_spacing_of_the_table_does_not_part_mask_and_ct(kits: Path, tmp_path: Path) -> None:
    shutil.copy(kits / "case_00000" / "imaging.nii.gz", tmp_path / "ct.nii.gz")
    shutil.copy(kits / "case_00000" / "segmentation.nii.gz", tmp_path / "mask.nii.gz")
    table = tmp_path / "images.csv"
    table.write_text("subject_id,modality,path,mask,spacing_mm\nP1,ct,ct.nii.gz,mask.nii.gz,1.5x1.5x2\n")
    assert not take_over_masks(table, None, KITS_LABELS, "given", tmp_path / "out", no_track)
    row = rows_of(tmp_path / "out")["P1"]
    ct, mask = (sitk.ReadImage(str(path)) for path in (tmp_path / "ct.nii.gz", tmp_path / "out" / row["mask"]))
    np.testing.assert_allclose(ct.GetSpacing(), mask.GetSpacing(), rtol=1e-6)
    assert float(row["tumour_ml"]) == pytest.approx((sitk.GetArrayFromImage(mask) == 2).sum() * 4.5 / 1000, abs=0.01)
