"""Maps of a tiny study: files, their index, the checks, and resuming."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tests.study.test_run import bags_study

from sparra.cohort.check import Cohort
from sparra.cohort.splits import read_folds
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.files import write_json
from sparra.graphs.store import read_graph
from sparra.maps.out_of_fold import FILE
from sparra.study import arms, maps
from sparra.study.arms import Arm, out_of_fold_subjects
from sparra.study.layout import StudyLayout
from sparra.study.maps import FILES, _work_of
from sparra.study.planted import Planted, covered_share
from sparra.study.settings import StudySettings
from sparra.study.sidecar import make_key, mark_done
from sparra.study.trust import _key_parts, _output, planted_table


def test_covered_share_counts_pixels() -> None:
    region = np.zeros((10, 12), bool)
    region[:, 6:] = True
    shares = covered_share(region, np.array([[5.5, 4.5], [2.0, 4.0], [11.5, 4.5]]), np.array([4.0, 4.0]))
    np.testing.assert_allclose(shares, [0.5, 0.0, 0.5])  # the last reaches beyond the picture


@pytest.mark.slow
def test_a_study_writes_and_checks_its_maps(study: Any, sparra: "Callable[..., tuple[int, str]]") -> None:
    study.change("methods", aggregators=["sparra"], cross_fit_folds=2)
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    layout = StudyLayout(study.output)
    index = pd.read_csv(layout.map_index, keep_default_na=False)
    images = study.rows("images.csv")
    assert len(index) == len(images)
    slides = index[index["modality"] == "slide"]
    assert (slides["geojson"] != "").all()
    assert (index.loc[index["modality"] == "ct", "nifti_sd"] != "").all()
    check_scores_are_out_of_fold(layout, slides.iloc[0])
    check_volume_lies_on_its_ct(study, layout, index[index["modality"] == "ct"].iloc[0])
    trust = pd.read_csv(layout.map_trust)
    assert set(trust["modality"]) == {"ct", "slide"}
    assert trust.loc[trust["check"] == "deletion", "value"].notna().all()
    assert trust.loc[trust["check"] == "stability_folds", "reason"].str.contains("repeats").all()
    assert len(planted_table(layout)) == 2
    stamps = {path: path.stat().st_mtime_ns for path in layout.map_index.parent.rglob("*.done.json")}
    subject = slides.iloc[0]["subject_id"]
    code, printed = sparra("maps", study.file, "--format", "all", "--subject", subject, "--normalisation", "rank")
    assert code == 0, printed
    assert "Blanking" in printed or "Do not" in printed or "not been tested" in printed
    files = {path.name for path in (layout.map_files("joint", "sparra", slides.iloc[0]["image_key"])).iterdir()}
    assert files == {
        FILES[name] for name in ("overlay", "geojson", "ome_scores", "ome_colours", "picture", "gallery", "graph")
    }
    again = {path: path.stat().st_mtime_ns for path in stamps}
    assert sum(again[path] != stamps[path] for path in stamps) == len(index[index["subject_id"] == subject])
    check_truth(study, layout, slides.iloc[0])


def check_scores_are_out_of_fold(layout: StudyLayout, row: pd.Series) -> None:
    content = json.loads((layout.root / row["geojson"]).read_text())
    fold = next(k for k, f in enumerate(read_folds(layout.folds)) if row["subject_id"] in f.test)
    tensors = load_file(layout.model("joint", "sparra", fold) / "importance.safetensors")
    weights, spread = tensors[f"slide/{row['subject_id']}"], tensors[f"sd/slide/{row['subject_id']}"]
    graph = read_graph(layout.graph("slide", row["subject_id"]))
    measured = [feature["properties"]["measurements"] for feature in content["features"]]
    assert [m["Node"] for m in measured] == graph.node_of_patch.tolist()
    np.testing.assert_allclose([m["Importance"] for m in measured], weights[graph.node_of_patch], rtol=1e-6)
    np.testing.assert_allclose([m["Importance SD"] for m in measured], spread[graph.node_of_patch], rtol=1e-6)
    assert sum({m["Node"]: m["Importance"] for m in measured}.values()) == pytest.approx(1, abs=1e-5)


def check_volume_lies_on_its_ct(study: Any, layout: StudyLayout, row: pd.Series) -> None:
    cell = next(r for r in study.rows("images.csv") if r["subject_id"] == row["subject_id"] and r["modality"] == "ct")
    read = sitk.ReadImage(str(layout.root / row["nifti"]))
    ct = sitk.ReadImage(str(study.path(cell["path"])))
    assert read.GetSize() == ct.GetSize()
    assert read.GetDirection() == ct.GetDirection()
    np.testing.assert_allclose(read.GetOrigin(), ct.GetOrigin())
    # Half of the importance lies near the tumour, where the patches are.
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(study.path(cell["mask"])))) == 2
    volume = sitk.GetArrayFromImage(read)
    assert (volume[mask] > 0).mean() > 0.5


def check_truth(study: Any, layout: StudyLayout, row: pd.Series) -> None:
    """A slide's planted tiles are those whose pixels are mostly white in the truth."""
    planted = Planted.beside(study.path("images.csv"))
    assert planted is not None
    graph = read_graph(layout.graph("slide", row["subject_id"]))
    found = planted.patches(layout, "slide", row["subject_id"], graph)
    truth = np.asarray(Image.open(Path(planted.folder) / f"{row['subject_id']}_slide.png")) > 0
    assert found is not None
    assert 0 < found.mean() < 1
    assert found.mean() == pytest.approx(truth.mean(), abs=0.25)


def test_maps_of_new_models_do_not_carry_the_verdict_on_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, "output": str(tmp_path)}
    settings, layout = StudySettings.model_validate(content), StudyLayout(tmp_path)
    arm = Arm("ct", "sparra", (layout.model("ct", "sparra", 0),))
    write_json(arm.folders[0] / "model.json", {"risk_scales": [[0.0, 1.0]]})
    save_file({"ct/S1": np.ones(3, np.float32)}, arm.folders[0] / FILE)
    write_json(_output(layout, arm), {"ct": {"verdict": "trusted", "sentence": "Blanking matters."}})
    mark_done(_output(layout, arm), make_key("maps", *_key_parts(settings, layout, arm)))
    image = ImageRecord("S1", "ct", tmp_path / "ct.nii", None, None, None, None, 2, "ct.nii")
    monkeypatch.setattr(maps, "read_graph", lambda _: SimpleNamespace(images=(image.key,)))

    def verdicts() -> list[str]:
        cohort = Cohort((), (image,), (), ("S1",), "days")
        index = {"S1": {"ct": "graphs/ct/S1.safetensors"}}
        return [work.label.verdict for work in _work_of(settings, cohort, layout, index, arm, ["S1"])]

    assert verdicts() == ["trusted"]
    write_json(arm.folders[0] / "model.json", {"risk_scales": [[0.5, 1.0]]})
    assert verdicts() == ["untested"]


def test_each_model_s_file_is_opened_once_for_all_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{kind}{modality}/S{n}" for kind in ("", "sd/") for modality in ("ct", "slide") for n in range(40)]
    save_file({name: np.ones(1, np.float32) for name in names}, tmp_path / FILE)
    assert out_of_fold_subjects(tmp_path) == {(modality, f"S{n}") for modality in ("ct", "slide") for n in range(40)}
    opened: list[Path] = []
    monkeypatch.setattr(arms, "safe_open", lambda path, **options: opened.append(path) or safe_open(path, **options))
    monkeypatch.setattr(maps, "read_graph", lambda _: SimpleNamespace(images=()))
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, "output": str(tmp_path)}
    index = {f"S{n}": {"ct": "graph", "slide": "graph"} for n in range(40)}
    settings, layout = StudySettings.model_validate(content), StudyLayout(tmp_path)
    cohort = Cohort((), (), (), tuple(index), "days")
    assert _work_of(settings, cohort, layout, index, Arm("joint", "sparra", (tmp_path,)), sorted(index)) == []
    assert opened == [tmp_path / FILE]


def test_a_damaged_file_of_importance_ends_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="the importance cannot be read"):
        out_of_fold_subjects(tmp_path)
    assert out_of_fold_subjects(tmp_path / "absent") == set()


def test_features_without_positions_are_one_sentence_and_no_failures(
    study: Any, sparra: Callable[..., tuple[int, str]]
) -> None:
    bags_study(study, [16] * 12)
    study.change("methods", aggregators=["mean"], modalities=["slide"])
    study.change("maps", aggregators=["mean"], trust=False)
    code, printed = sparra("maps", study.file)
    assert code == 0, printed
    sentence = "No map can be drawn of 12 slides: the features came without positions."
    assert printed.count(sentence) == 1
    layout = StudyLayout(study.output)
    assert pd.read_csv(layout.failures).empty
    assert pd.read_csv(layout.map_undrawn).to_dict("records") == [
        {"modality": "slide", "lacking": "positions", "images": 12, "subjects": 12}
    ]
    assert sentence in layout.report.read_text(encoding="utf-8")
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    assert printed.count(sentence) == 1
