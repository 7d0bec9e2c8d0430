import csv
from pathlib import Path

import pytest

from sparra.cohort.check import check_cohort, flow_of
from sparra.cohort.review import WORDS, apply_review, write_review
from sparra.cohort.settings import CohortSettings
from sparra.cohort.tables import read_images
from sparra.errors import UserError
from sparra.files import sha256_of

COLUMNS = ["subject_id", "decision", "comment", "flags", "image", "mask", "label", "mask_sha256"]


@pytest.fixture
def cohort(tmp_path: Path) -> CohortSettings:
    """Subjects A to F with a CT without a mask, G with one of its own, and masks for A to E."""
    names = "ABCDEFG"
    (tmp_path / "subjects.csv").write_text("subject_id,time,event\n" + "".join(f"{s},1,1\n" for s in names))
    rows = [f"{s},ct,{s}.nii,{'own.nii' if s == 'G' else ''}" for s in names]
    (tmp_path / "images.csv").write_text("subject_id,modality,path,mask\n" + "\n".join(rows))
    (tmp_path / "masks").mkdir()
    for name in "ABCDE":
        (tmp_path / "masks" / f"{name}.nii.gz").write_text(name)
    write_review(tmp_path / "masks" / "review.csv", [row(tmp_path, name) for name in "ABCDEF"], COLUMNS)
    return CohortSettings(
        subjects=tmp_path / "subjects.csv",
        images=tmp_path / "images.csv",
        review=tmp_path / "masks" / "review.csv",
        time_unit="days",
    )


def row(folder: Path, name: str, decision: str = "") -> dict[str, str]:
    mask = folder / "masks" / f"{name}.nii.gz"
    return {
        "subject_id": name,
        "decision": decision,
        "comment": "",
        "flags": "no tumour found",
        "image": f"../{name}.nii",
        "mask": mask.name if mask.exists() else "",
        "label": "2",
        "mask_sha256": sha256_of(mask) if mask.exists() else "",
    }


def decide(path: Path, decisions: dict[str, tuple[str, str]]) -> None:
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for one in rows:
        one["decision"], one["comment"] = decisions.get(one["subject_id"], (one["decision"], one["comment"]))
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def test_only_accepted_masks_are_used_and_the_others_listed_with_the_reason(cohort: CohortSettings) -> None:
    decide(cohort.review, {"A": ("accept", ""), "B": ("Reject", "spleen"), "D": ("accept", ""), "E": ("perhaps", "")})
    (cohort.review.parent / "D.nii.gz").write_text("drawn anew")
    found = check_cohort(cohort, lambda image: None)
    accepted = {image.subject_id: image for image in found.images}
    assert set(accepted) == {"A", "G"}
    assert accepted["A"].mask == (cohort.review.parent / "A.nii.gz").resolve()
    assert accepted["A"].label == (2,)
    assert accepted["G"].mask.name == "own.nii"
    reasons = {row["subject_id"]: row["what"] for row in flow_of(found)["excluded"]}
    for name, reason in {
        "B": "rejected in review: spleen",
        "C": "has not been reviewed (quality control: no tumour found)",
        "D": "changed after it was reviewed",
        "E": "decision 'perhaps' is not known",
        "F": "there is no mask (no tumour found)",
    }.items():
        assert reason in reasons[name]


def test_a_mask_named_in_the_images_table_is_reviewed_too(cohort: CohortSettings) -> None:
    cohort.images.write_text("subject_id,modality,path,mask,label\nB,ct,elsewhere.nii,masks/B.nii.gz,1+2\n")
    images, _ = read_images(cohort.images)
    assert "has not been reviewed" in apply_review(images, cohort.review)[1][0].what
    decide(cohort.review, {"B": ("accepted", "")})
    (image,), problems = apply_review(images, cohort.review)
    assert not problems
    assert image.label == (1, 2), "the images table goes before the review's label"


def test_decisions_stay_when_the_table_is_written_anew_unless_the_mask_changed(cohort: CohortSettings) -> None:
    folder = cohort.review.parent.parent
    decide(cohort.review, {"A": ("accept", "good"), "B": ("reject", "spleen")})
    (cohort.review.parent / "B.nii.gz").write_text("drawn anew")
    write_review(cohort.review, [row(folder, name) for name in "ABC"], COLUMNS)
    with cohort.review.open(newline="") as handle:
        written = {one["subject_id"]: (one["decision"], one["comment"]) for one in csv.DictReader(handle)}
    assert written == {"A": ("accept", "good"), "B": ("", ""), "C": ("", "")}


def test_one_mask_on_two_images_has_two_decisions(cohort: CohortSettings) -> None:
    folder = cohort.review.parent.parent
    cohort.review.unlink()
    rows = [row(folder, "A", "accept"), row(folder, "A", "reject") | {"image": "../A2.nii"}]
    (folder / "masks" / "B.nii.gz").write_text("A")
    rows.append(row(folder, "B", "reject"))
    write_review(cohort.review, rows, COLUMNS)
    without = [one | {"decision": ""} for one in rows]

    def written(new: list[dict[str, str]]) -> list[tuple[str, str]]:
        write_review(cohort.review, new, COLUMNS)
        with cohort.review.open(newline="") as handle:
            return [(one["image"], one["decision"]) for one in csv.DictReader(handle)]

    decided = [("../A.nii", "accept"), ("../A2.nii", "reject"), ("../B.nii", "reject")]
    # Nobody has looked at the mask on the new image, though the same mask was judged on another.
    assert written([*without, row(folder, "B") | {"image": "../new.nii"}]) == [*decided, ("../new.nii", "")]
    assert written([*without[:2], row(folder, "B") | {"image": "../moved.nii"}]) == [
        *decided[:2],
        ("../moved.nii", "reject"),
    ]
    # Of a mask on two images that have both moved, no one can tell which decision was about which.
    moved = [row(folder, "A") | {"image": f"../moved{number}.nii"} for number in (1, 2)]
    assert written(moved) == [("../moved1.nii", ""), ("../moved2.nii", "")]


def test_an_earlier_table_that_cannot_be_read_is_not_replaced(cohort: CohortSettings) -> None:
    folder = cohort.review.parent.parent
    decide(cohort.review, {"A": ("accept", "good")})
    broken = cohort.review.read_text().replace("good", "good, I think")
    cohort.review.write_text(broken)
    with pytest.raises(UserError, match="Put a cell that holds a comma in quotes"):
        write_review(cohort.review, [row(folder, name) for name in "ABC"], COLUMNS)
    assert cohort.review.read_text() == broken


def test_words_and_broken_tables(cohort: CohortSettings) -> None:
    assert {word for word, decision in WORDS.items() if decision == "accept"} == {"accept", "accepted"}
    cohort.review.write_text("subject_id,image,mask\n")
    with pytest.raises(UserError, match="'decision' is missing"):
        apply_review([], cohort.review)
