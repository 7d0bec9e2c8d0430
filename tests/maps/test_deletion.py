from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.conftest import make_cohort

from sparra.graphs.graph import SpatialGraph
from sparra.maps.deletion import deletion_curves, mean_curves, with_features, with_nodes
from sparra.maps.trust import check_over_subjects, verdict_of, verdict_sentence
from sparra.models.registry import aggregators
from sparra.training.fit import fit_aggregator
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData


def graph_of(contributions: np.ndarray, seed: int = 0) -> SpatialGraph:
    n = len(contributions)
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, n, size=(2, 3 * n))
    pairs = np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0), axis=1)
    edges = np.hstack([pairs, pairs[::-1]])
    return SpatialGraph(
        "slide", contributions[:, None], rng.normal(size=(n, 2)), edges, rng.permutation(np.arange(2 * n) % n),
        np.arange(n) % 2, ("a", "b"), {}, np.ones(n),
    )  # fmt: skip


@given(st.integers(2, 12), st.integers(0, 2**31))
def test_part_of_a_graph_has_its_nodes_edges_and_patches(n: int, seed: int) -> None:
    graph = graph_of(np.arange(float(n)), seed)
    kept = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.6)
    part = with_nodes(graph, kept[::-1])
    assert part.features[:, 0].tolist() == kept.tolist()
    named = {tuple(part.features[pair, 0].astype(int)) for pair in part.edge_index.T}
    assert named == {(a, b) for a, b in graph.edge_index.T.tolist() if a in kept and b in kept}
    assert part.member_counts.tolist() == graph.member_counts[kept].tolist()
    np.testing.assert_array_equal(part.positions, graph.positions[kept])
    np.testing.assert_array_equal(part.image_of_node, graph.image_of_node[kept])


def test_with_features_only_the_named_nodes_keep_theirs() -> None:
    graph = graph_of(np.arange(1.0, 6.0))
    part = with_features(graph, np.array([3, 0]), np.array([-1.0]))
    assert part.features[:, 0].tolist() == [1, -1, -1, 4, -1]
    assert graph.features[:, 0].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(part.edge_index, graph.edge_index)
    np.testing.assert_array_equal(part.node_of_patch, graph.node_of_patch)


def sum_of_contributions(variants) -> np.ndarray:
    """A model whose risk is linear in the nodes: the true importance of each is known."""
    return np.array([graphs["slide"].features.sum() for graphs in variants])


def mean_of_contributions(variants) -> np.ndarray:
    """As most aggregators of bags: an average over the nodes."""
    return np.array([graphs["slide"].features.mean() for graphs in variants])


def attended_contributions(variants) -> np.ndarray:
    """An average weighted by attention to strong features."""
    weighted = [(np.exp(np.minimum(g["slide"].features, 3)), g["slide"].features) for g in variants]
    return np.array([(weight * value).sum() / weight.sum() for weight, value in weighted])


MODELS = {"sum": sum_of_contributions, "mean": mean_of_contributions, "attention": attended_contributions}
BLANK = np.zeros(1)


def curves_over_subjects(rank, n_subjects: int = 20, risk_of=sum_of_contributions) -> list:
    rng = np.random.default_rng(7)
    curves = []
    for subject in range(n_subjects):
        contributions = rng.exponential(size=30)
        graphs = {"slide": graph_of(contributions, subject)}
        curves.append(deletion_curves(graphs, "slide", rank(contributions, rng), risk_of, BLANK, rng))
    return curves


def checks_of(rank, risk_of=sum_of_contributions) -> list:
    curves = curves_over_subjects(rank, risk_of=risk_of)
    areas = {"deletion": [c.deletion_area for c in curves], "insertion": [c.insertion_area for c in curves]}
    return [check_over_subjects(name, values, 0.0, 0) for name, values in areas.items()]


def test_curves_of_the_true_importance_equal_the_sums_and_beat_random() -> None:
    contributions = np.array([0.5, 4.0, 1.0, 2.0, 0.1, 0.4, 3.0, 0.0])
    generator = np.random.default_rng(0)
    curves = deletion_curves(
        {"slide": graph_of(contributions)}, "slide", contributions, sum_of_contributions, BLANK, generator, (0.25, 0.5)
    )
    np.testing.assert_allclose(curves.deletion, [7.0, 10.0])
    np.testing.assert_allclose(curves.insertion, [4.0, 1.0])
    np.testing.assert_allclose(curves.removal, curves.deletion)  # a sum that misses terms, or has them at zero
    checks = checks_of(lambda truth, _: truth)
    assert verdict_of(checks) == "trusted"
    assert "more than blanking random ones" in verdict_sentence(checks)


def test_random_removal_removes_its_share_on_average() -> None:
    curves = mean_curves(curves_over_subjects(lambda truth, _: truth, 200))
    np.testing.assert_allclose(curves.random_deletion, np.array([3, 8, 15]), rtol=0.06)
    np.testing.assert_allclose(curves.random_insertion, np.array([27, 22, 15]), rtol=0.06)


@pytest.mark.parametrize("model", MODELS)
def test_the_true_importance_passes_both_checks_whatever_the_model_does_with_its_nodes(model: str) -> None:
    truth, inverted, random = (
        [check.passed for check in checks_of(rank, MODELS[model])]
        for rank in (lambda t, _: t, lambda t, _: -t, lambda t, rng: rng.random(len(t)))
    )
    assert truth == [True, True]
    assert not any(inverted)
    assert not any(random)


def test_a_blank_node_must_have_the_nodes_features() -> None:
    with pytest.raises(ValueError, match="blank node"):
        deletion_curves(
            {"slide": graph_of(np.ones(5))}, "slide", np.ones(5), sum_of_contributions, np.zeros(2),
            np.random.default_rng(0),
        )  # fmt: skip


@pytest.mark.parametrize("rank", [lambda truth, _: -truth, lambda truth, rng: rng.random(len(truth))])
def test_an_anti_map_and_a_random_map_fail_and_say_so(rank) -> None:
    checks = checks_of(rank)
    assert verdict_of(checks) == "failed"
    sentence = verdict_sentence(checks)
    assert sentence.startswith("Do not rely on this map")
    assert "no more than blanking random ones" in sentence


def test_a_constant_map_fails_and_few_subjects_are_no_test() -> None:
    checks = checks_of(lambda truth, _: truth)
    assert verdict_of(checks, constant=True) == "failed"
    few = check_over_subjects("deletion", [0.3, 0.4, float("nan")], 0.0, 0)
    assert few.passed is None
    assert few.reason == "2 subjects, fewer than 5"
    assert verdict_of([few]) == "untested"


def test_a_graph_too_small_is_not_tested() -> None:
    graphs = {"slide": graph_of(np.ones(3))}
    assert deletion_curves(graphs, "slide", np.ones(3), sum_of_contributions, BLANK, np.random.default_rng(0)) is None


def trained_on_planted_cohort():
    """A small SPARRA and the test subjects of a cohort whose hazard lies in a fifth of the nodes."""
    subjects, planted = make_cohort(110, seed=3, n_nodes=(30, 50), strength=3.0)
    subjects = [replace(subject, graphs={"slide": subject.graphs["slide"]}) for subject in subjects]
    settings = aggregators["sparra"].settings(hidden=32, pooled=16, encoder=16, ensemble=1)
    training = TrainingSettings(epochs=12, batch_size=32, learning_rate=3e-3)
    fitted = fit_aggregator("sparra", settings, training, subjects[:80], 0)
    return fitted, subjects[80:], planted[80:]


def test_of_a_trained_model_the_planted_region_passes_a_random_and_an_inverted_map_fail() -> None:
    fitted, subjects, planted = trained_on_planted_cohort()

    def risk_of(variants) -> np.ndarray:
        people = [SubjectData(str(number), graphs, 1.0, True) for number, graphs in enumerate(variants)]
        return fitted.predict(people).risk / fitted.scale[1]

    found = {name: [] for name in ("oracle", "map", "inverted", "random")}
    importance = fitted.predict(subjects).importance
    rng = np.random.default_rng(5)
    for subject, region, weights in zip(subjects, planted, importance, strict=True):
        maps = {
            "oracle": region + 1e-9 * rng.random(len(region)),
            "map": weights["slide"],
            "inverted": -weights["slide"],
            "random": rng.random(len(region)),
        }
        for name, values in maps.items():
            blank = fitted.scalers["slide"].mean
            found[name].append(deletion_curves(subject.graphs, "slide", values, risk_of, blank, rng))
    passed = {
        name: [
            check_over_subjects(area, [getattr(c, area) for c in curves], 0.0, 0).passed
            for area in ("deletion_area", "insertion_area")
        ]
        for name, curves in found.items()
    }
    assert passed == {
        "oracle": [True, True],
        "map": [True, True],
        "inverted": [False, False],
        "random": [False, False],
    }
