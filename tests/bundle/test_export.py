"""What a bundle says of the study's own patients is what the study said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.bundle.conftest import quietly

from sparra.bundle.bundle import Bundle
from sparra.bundle.card import model_card
from sparra.bundle.content import Figure
from sparra.bundle.export import Choice, _limits_of_performance, export_bundle
from sparra.bundle.facts import C_INDEX
from sparra.bundle.maps import label_of
from sparra.cohort.splits import read_folds
from sparra.errors import UserError
from sparra.files import read_json
from sparra.study import resume
from sparra.study.arms import Arm
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method, load_subject, read_follow_up
from sparra.study.settings import StudySettings
from sparra.study.trust import check_maps
from sparra.training.checkpoint import FitState
from sparra.training.subjects import SubjectData


def load_part(settings: StudySettings, fold: int) -> list[SubjectData]:
    layout = StudyLayout(settings.output)
    index = read_json(layout.root / "graphs" / "index.json")["paths"]
    method, table = Method("joint", "sparra", fold), read_follow_up(layout)
    return [load_subject(layout, index, method, name, table) for name in list(read_folds(layout.folds))[fold].test]


def stored(settings: StudySettings, table: str, fold: int, model: str) -> pd.DataFrame:
    rows = pd.read_csv(StudyLayout(settings.output).evaluation_table(table), dtype={"subject_id": str})
    return rows[(rows["fold"] == fold) & (rows["model"] == model)]


@pytest.mark.parametrize("fold", [0, 1])
def test_each_member_says_of_its_test_part_what_the_study_said(
    finished: StudySettings, made: Bundle, fold: int
) -> None:
    subjects = load_part(finished, fold)
    alone = replace(made, members=made.members[fold : fold + 1])
    found = alone.predict_subjects(subjects)
    known = stored(finished, "predictions", fold, "CoxPH").set_index("subject_id").loc[list(found.subject_ids)]
    member = alone.members[0]
    raw = member.head.risk(member.output(subjects)[0])
    np.testing.assert_allclose(raw, known["risk"], atol=1e-6)
    np.testing.assert_allclose(found.risk, (raw - member.head.cut) / member.head.spread)
    assert (found.group == known["group"]).all()
    curves = stored(finished, "survival", fold, "CoxPH").pivot(index="subject_id", columns="horizon", values="survival")
    np.testing.assert_allclose(found.horizons, curves.columns)
    np.testing.assert_allclose(found.survival, curves.loc[list(found.subject_ids)], atol=1e-6)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_networks_own_risk_keeps_its_order_and_groups(finished: StudySettings, fold: int) -> None:
    bundle = export_bundle(finished, Choice(model="network", replicates=3))
    alone = replace(bundle, members=bundle.members[fold : fold + 1])
    found = alone.predict_subjects(load_part(finished, fold))
    known = stored(finished, "predictions", fold, "network").set_index("subject_id").loc[list(found.subject_ids)]
    assert np.corrcoef(found.risk, known["risk"])[0, 1] == pytest.approx(1, abs=1e-9)
    assert (found.group == known["group"]).all()
    assert ((found.survival >= 0) & (found.survival <= 1)).all()


def test_predictions_are_means_over_the_members_with_an_interval_around_them(
    finished: StudySettings, made: Bundle
) -> None:
    subjects = load_part(finished, 0)
    both = made.predict_subjects(subjects, [100, 400])
    parts = [replace(made, members=(member,)).predict_subjects(subjects, [100, 400]) for member in made.members]
    np.testing.assert_allclose(both.risk, np.mean([part.risk for part in parts], axis=0))
    np.testing.assert_allclose(both.survival, np.mean([part.survival for part in parts], axis=0))
    assert (both.lower <= both.upper).all()
    assert ((both.lower < both.survival) & (both.survival < both.upper)).mean() > 0.9
    weights = both.importance[0]["slide"]
    assert weights.sum() == pytest.approx(1, abs=1e-5)


def test_a_refit_has_one_model_of_all_patients(finished: StudySettings) -> None:
    bundle = export_bundle(finished, Choice(weights="refit", replicates=2))
    assert len(bundle.members) == 1
    assert bundle.content.members[0].n_subjects == bundle.content.cohort.n_subjects == 30
    found = bundle.predict_subjects(load_part(finished, 0))
    assert (found.risk_sd > 0).all()  # of the posterior alone
    assert (found.lower < found.upper).all()


def test_a_refit_that_is_cut_off_goes_on_and_ends_alike(
    finished: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, save, saved = Choice(weights="refit", replicates=0), FitState.save, [0]
    (undisturbed,) = export_bundle(finished, choice).members

    def save_and_stop(self: FitState, folder: Path, key: str) -> None:
        save(self, folder, key)
        saved[0] += 1
        if saved[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(resume, "SECONDS_BETWEEN_STATES", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(FitState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            export_bundle(finished, choice)
    states = StudyLayout(finished.output).root / "models" / "joint" / "sparra" / "refit-checkpoint"
    assert list(states.rglob("state.safetensors"))
    (resumed,) = export_bundle(finished, choice).members
    assert not states.exists()
    wanted, found = undisturbed.network.tensors(), resumed.network.tensors()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert (undisturbed.head.cut, undisturbed.head.spread) == (resumed.head.cut, resumed.head.spread)


def test_a_refit_keeps_nothing_in_a_study_that_can_only_be_read(
    finished: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so that the system is asked in its place."""
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_STATES", 0.0)
    monkeypatch.setattr("sparra.bundle.export.os.access", lambda path, mode: False)
    monkeypatch.setattr(FitState, "save", lambda *_: pytest.fail("a state was written"))
    assert len(export_bundle(finished, Choice(weights="refit", replicates=0)).members) == 1


def test_a_bundle_holds_no_id_and_no_path(finished: StudySettings, made: Bundle) -> None:
    text = made.content.model_dump_json() + model_card(made)
    assert str(finished.output.parent) not in text
    assert not any(f"P{index:03d}" in text for index in range(30))


def test_the_card_tells_what_one_must_know(made: Bundle) -> None:
    card = model_card(made)
    for part in (
        "Research use only",
        "tiny-slide",
        "abab",
        "C-index",
        "| events |",
        "calibration slope",
        "| with both |",
    ):
        assert part in card
    assert "Small \\| study" in card
    assert "mm in the plane; " in card
    assert "pixel_mm" not in card


def test_a_model_no_better_than_chance_says_so(made: Bundle) -> None:
    def limits(lower: float) -> list[str]:
        return _limits_of_performance([Figure(name=C_INDEX, value=0.6, lower=lower, upper=0.8)])

    assert limits(0.501) == []
    assert limits(0.5) == [
        "It was not shown to rank patients better than chance does (a C-index of 0.5): it has 0.600, with a 95 % "
        "interval from 0.500."
    ]
    figure = next(figure for figure in made.content.performance if figure.name == C_INDEX)
    assert figure.lower is not None
    told = any("better than chance" in text for text in made.content.limitations)
    assert told == (figure.lower <= 0.5)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(model="RSF"), "without pickle"),
        (Choice(model="Coxnet"), "no model 'Coxnet'"),
        (Choice(aggregator="abmil"), "no aggregator 'abmil'"),
        (Choice(modality="ct"), "no modality 'ct'"),
    ],
)
def test_what_is_not_there_or_cannot_be_written_is_refused(finished: StudySettings, choice: Choice, said: str) -> None:
    with pytest.raises(UserError, match=said):
        export_bundle(finished, choice)


def test_a_study_that_is_not_up_to_date_is_refused(finished: StudySettings) -> None:
    changed = finished.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match="not up to date"):
        export_bundle(changed, Choice())


def test_the_verdict_on_the_maps_goes_along(finished: StudySettings, made: Bundle) -> None:
    assert {note.verdict for note in made.content.maps.values()} == {"untested"}
    layout = StudyLayout(finished.output)
    index = read_json(layout.root / "graphs" / "index.json")["paths"]
    arm = Arm("joint", "sparra", tuple(layout.model("joint", "sparra", fold) for fold in range(2)))
    assert not check_maps(finished, layout, index, [arm], quietly)
    known = pd.read_csv(layout.map_verdicts).set_index("modality")
    content = export_bundle(finished, Choice(replicates=0)).content
    for modality in ("ct", "slide"):
        assert content.maps[modality].verdict == known["verdict"][modality] != "untested"
        assert known["sentence"][modality] in label_of(content, modality).sentence
        assert label_of(content, modality).sentence.startswith("In the training study: ")
        assert label_of(content, modality).verdict == content.maps[modality].verdict
    layout.map_verdicts.unlink()
    older = content.model_copy(update={"maps": {}})
    assert label_of(older, "ct").verdict == "untested"
