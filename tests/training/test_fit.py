import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from sparra.errors import UserError
from sparra.models.registry import aggregators
from sparra.training.checkpoint import Checkpoint
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator
from sparra.training.settings import TrainingSettings

FAST = TrainingSettings(epochs=3, batch_size=16, ensemble=1)
NAMES = ["mean", "abmil", "sparra"]
SMALL = {
    "mean": {"hidden": 64},
    "abmil": {"hidden": 64, "attention": 32},
    "sparra": {"hidden": 64, "pooled": 32, "encoder": 32},
}


def fit(name, subjects, seed=0, training=FAST, **values):
    settings = aggregators[name].settings(**{**SMALL[name], **values})
    return fit_aggregator(name, settings, training, subjects, seed)


def c_index(subjects, risk):
    event, time = [s.event for s in subjects], [s.time for s in subjects]
    return concordance_index_censored(event, time, risk)[0]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_finds_a_planted_hazard_and_higher_risk_is_worse(name, cohort_maker):
    subjects, _ = cohort_maker(200, seed=1, share=0.4)
    training = TrainingSettings(epochs=15, batch_size=32, learning_rate=2e-3)
    fitted = fit(name, subjects[:120], training=training)
    assert c_index(subjects[120:], fitted.predict(subjects[120:]).risk) > 0.68
    assert fitted.curve["cox"].iloc[-1] < fitted.curve["cox"].iloc[0]


@pytest.mark.parametrize("name", ["abmil", "sparra"])
def test_importance_finds_planted_nodes_better_than_chance(name, cohort_maker):
    subjects, planted = cohort_maker(150, seed=3, n_nodes=(30, 50), share=0.1, strength=3.0)
    slide_only = [dataclasses.replace(s, graphs={"slide": s.graphs["slide"]}) for s in subjects]
    training = TrainingSettings(epochs=20, batch_size=32, learning_rate=2e-3)
    importance = fit(name, slide_only[:100], training=training).predict(slide_only[100:]).importance
    scores = [roc_auc_score(planted[100 + i], part["slide"]) for i, part in enumerate(importance)]
    assert np.mean(scores) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_weights_and_leave_torch_alone(name, cohort_maker):
    subjects, _ = cohort_maker(40)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = fit(name, subjects)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(8)
    assert same(first, fit(name, subjects))
    assert not same(first, fit(name, subjects, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_missing_modalities_and_presence(name, cohort_maker):
    subjects, _ = cohort_maker(40, missing=True)
    fitted = fit(name, subjects)
    predictions = fitted.predict(subjects)
    sizes = fitted.model.embedding_sizes
    assert list(sizes) == ["ct", "slide"]
    assert predictions.embedding.shape == predictions.present.shape == (40, sum(sizes.values()))
    assert predictions.embedding.dtype == np.float32
    for row, subject in enumerate(subjects):
        assert predictions.present[row, : sizes["ct"]].all() == ("ct" in subject.graphs)
        assert predictions.present[row, sizes["ct"] :].all() == ("slide" in subject.graphs)
        assert predictions.importance[row].keys() == subject.graphs.keys()
        for modality, weights in predictions.importance[row].items():
            assert weights.shape == (len(subject.graphs[modality]),)
            assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert not predictions.embedding[~predictions.present].any()
    assert np.isfinite(predictions.risk).all()


@pytest.mark.parametrize("name", NAMES)
def test_prediction_does_not_depend_on_the_company(name, cohort_maker):
    subjects, _ = cohort_maker(45, missing=True)
    fitted = fit(name, subjects[:40])
    together, alone = fitted.predict(subjects), fitted.predict(subjects[44:])
    np.testing.assert_allclose(alone.risk, together.risk[44:], atol=1e-5)
    np.testing.assert_allclose(alone.embedding, together.embedding[44:], atol=1e-5)


@pytest.mark.parametrize(("name", "values"), [("abmil", {}), ("sparra", {}), ("sparra", {"preset": "released"})])
def test_prediction_does_not_depend_on_the_threads(name, values, cohort_maker, monkeypatch):
    """Inference mode, in which a prediction is made, is a thread's own."""
    subjects, _ = cohort_maker(12, missing=True)
    fitted = fit(name, subjects, **values)
    draws = 4 if fitted.has_posterior else 0
    expected = fitted.predict(subjects, draws)
    monkeypatch.setattr("sparra.models.branch.JOINED_ROWS", 8)
    for module in ("branch", "fused"):
        monkeypatch.setattr(f"sparra.models.{module}.PIECE_ROWS", 16)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = fitted.predict(subjects, draws)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found.risk, expected.risk, atol=1e-5)
    if draws:
        np.testing.assert_allclose(found.risk_sd, expected.risk_sd, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name, cohort_maker, tmp_path):
    subjects, _ = cohort_maker(30, missing=True)
    fitted = fit(name, subjects)
    fitted.save(tmp_path / "fold-0")
    assert sorted(p.name for p in (tmp_path / "fold-0").iterdir()) == [
        "curve.csv",
        "model.json",
        "weights.safetensors",
    ]
    loaded = FittedAggregator.load(tmp_path / "fold-0")
    first, second = fitted.predict(subjects), loaded.predict(subjects)
    np.testing.assert_array_equal(first.risk, second.risk)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    assert loaded.settings == fitted.settings
    assert loaded.training_settings == fitted.training_settings
    pd.testing.assert_frame_equal(loaded.curve, fitted.curve)


def test_curve_holds_every_term_of_every_epoch(cohort_maker):
    subjects, _ = cohort_maker(30)
    curve = fit("sparra", subjects, preset="paper").curve
    assert list(curve.columns) == ["epoch", "learning_rate", "total", "cox", "kl", "reconstruction"]
    assert len(curve) == 3
    np.testing.assert_allclose(curve["total"], curve[["cox", "kl", "reconstruction"]].sum(axis=1), rtol=1e-5)
    assert curve["learning_rate"].is_monotonic_decreasing


def test_aggregators_weight_decay_overrides_trainings(cohort_maker):
    subjects, _ = cohort_maker(30)
    strong = FAST.model_copy(update={"weight_decay": 1.0})
    free = fit("sparra", subjects, preset="released")
    assert same(free, fit("sparra", subjects, training=strong, preset="released"))
    assert not same(free, fit("sparra", subjects, training=strong, preset="released", weight_decay=1.0))


def test_a_loss_that_is_not_finite_names_the_epoch(cohort_maker):
    subjects, _ = cohort_maker(30)
    wild = TrainingSettings(epochs=30, learning_rate=1e18)
    with pytest.raises(UserError, match=r"no longer finite in epoch \d+"):
        fit("sparra", subjects, training=wild)


@pytest.mark.parametrize(("values", "term"), [({}, "risk"), ({"validation_share": 0.3}, "validation")])
def test_weights_that_the_last_step_spoilt_are_refused(values, term, cohort_maker, tmp_path):
    subjects, _ = cohort_maker(30)
    wild = TrainingSettings(epochs=1, batch_size=30, ensemble=1, learning_rate=1e30, **values)
    for checkpoint in (None, Checkpoint(tmp_path)):
        with pytest.raises(UserError, match=rf"no longer finite in epoch 0 \({term}\)"):
            fit_aggregator("abmil", aggregators["abmil"].settings(**SMALL["abmil"]), wild, subjects, 0, checkpoint)


def test_subjects_that_cannot_be_trained_on(cohort_maker):
    subjects, _ = cohort_maker(10)
    with pytest.raises(UserError, match="at least two"):
        fit("mean", subjects[:1])
    with pytest.raises(UserError, match="had the event"):
        fit("mean", [dataclasses.replace(s, event=False) for s in subjects])
    with pytest.raises(UserError, match=r"subject s003.*no graph"):
        fit("mean", [dataclasses.replace(s, graphs={}) if s.subject_id == "s003" else s for s in subjects])
    with pytest.raises(UserError, match=r"subject s001.*nan"):
        fit("mean", [dataclasses.replace(s, time=np.nan) if s.subject_id == "s001" else s for s in subjects])
    other = dataclasses.replace(subjects[0], graphs={"slide": subjects[0].graphs["ct"]})
    with pytest.raises(UserError, match="6 features a node where others have 8"):
        fit("mean", [*subjects[1:], other])


def test_prediction_refuses_foreign_subjects(cohort_maker):
    subjects, _ = cohort_maker(20)
    slide_only = [dataclasses.replace(s, graphs={"slide": s.graphs["slide"]}) for s in subjects]
    fitted = fit("mean", slide_only)
    with pytest.raises(UserError, match="no graph of slide"):
        fitted.predict([dataclasses.replace(subjects[0], graphs={"ct": subjects[0].graphs["ct"]})])
    with pytest.raises(UserError, match="trained on 8"):
        fitted.predict([dataclasses.replace(subjects[0], graphs={"slide": subjects[0].graphs["ct"]})])


def test_load_tells_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no trained aggregator"):
        FittedAggregator.load(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError, match="format"):
        FittedAggregator.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [("curve.csv", None), ("curve.csv", b""), ("weights.safetensors", b"cut"), ("model.json", b"\xff\xfe")],
)
def test_a_damaged_folder_is_told_in_a_sentence(file, content, cohort_maker, tmp_path):
    subjects, _ = cohort_maker(12)
    fit("mean", subjects).save(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=r"damaged|format"):
        FittedAggregator.load(tmp_path)


def test_weights_of_other_settings_are_told_in_a_sentence(cohort_maker, tmp_path):
    subjects, _ = cohort_maker(12)
    for folder, hidden in (("narrow", 16), ("wide", 32)):
        fit("mean", subjects, hidden=hidden).save(tmp_path / folder)
    (tmp_path / "wide" / "model.json").replace(tmp_path / "narrow" / "model.json")
    with pytest.raises(UserError, match="size mismatch"):
        FittedAggregator.load(tmp_path / "narrow")


@pytest.mark.parametrize("name", NAMES)
def test_patients_who_are_all_alike_give_no_scale_of_risk(name, cohort_maker):
    """Rounding is no spread: divided by it, a new patient's risk would be in the millions."""
    subjects, _ = cohort_maker(12, seed=2)
    alike = [dataclasses.replace(subject, graphs=subjects[0].graphs) for subject in subjects]
    fitted = fit(name, alike, training=FAST.model_copy(update={"ensemble": 2}))
    assert [member.scale[1] for member in fitted.members] == [1.0, 1.0]
    assert np.abs(fitted.predict(subjects[1:4]).risk).max() < 100


def with_graph(subject, name, **values):
    return dataclasses.replace(
        subject, graphs={**subject.graphs, name: dataclasses.replace(subject.graphs[name], **values)}
    )


def without_nodes(subject, name):
    none = {"node_of_patch": np.zeros(0, np.int64), "image_of_node": np.zeros(0, np.int64)}
    return with_graph(subject, name, features=np.zeros((0, 6)), edge_index=np.zeros((2, 0), np.int64), **none)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("name", "preset"), [("abmil", {}), ("sparra", {}), ("sparra", {"preset": "paper"})])
def test_features_that_are_not_finite_are_refused_by_name(name, preset, value, cohort_maker):
    """The paper's pooling left no node of such a graph, and a risk that looked like any other."""
    subjects, _ = cohort_maker(12)
    features = subjects[5].graphs["slide"].features.copy()
    features[2, 3] = value
    spoilt = [*subjects[:5], with_graph(subjects[5], "slide", features=features), *subjects[6:]]
    with pytest.raises(UserError, match="slide graph of subject s005: a node feature"):
        fit(name, spoilt, **preset)
    fitted = fit(name, subjects, **preset)
    with pytest.raises(UserError, match="slide graph of subject s005: a node feature"):
        fitted.predict(spoilt)


@pytest.mark.parametrize("node", [-1, 10**9, None])
def test_an_edge_out_of_the_graph_is_refused(node, cohort_maker):
    """Compiled loops would follow it into the next subject, or end the process."""
    subjects, _ = cohort_maker(12)
    edges, n_nodes = subjects[5].graphs["ct"].edge_index, len(subjects[5].graphs["ct"])
    outside = np.array([[0], [n_nodes if node is None else node]])
    spoilt = [*subjects[:5], with_graph(subjects[5], "ct", edge_index=np.hstack([edges, outside])), *subjects[6:]]
    with pytest.raises(UserError, match="ct graph of subject s005: an edge"):
        fit("sparra", spoilt)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_without_nodes_is_none(name, cohort_maker):
    subjects, _ = cohort_maker(20)
    for some in (range(0, 20, 3), range(20)):
        absent = [dataclasses.replace(s, graphs={"slide": s.graphs["slide"]}) for s in subjects]
        lacking = [absent[i] if i in some else s for i, s in enumerate(subjects)]
        empty = [without_nodes(s, "ct") if i in some else s for i, s in enumerate(subjects)]
        expected, found = fit(name, lacking), fit(name, empty)
        assert same(expected, found)
        assert found.feature_dims == expected.feature_dims
        first, second = expected.predict(lacking), found.predict(empty)
        np.testing.assert_array_equal(first.risk, second.risk)
        np.testing.assert_array_equal(first.present, second.present)
        assert [part.keys() for part in first.importance] == [part.keys() for part in second.importance]
