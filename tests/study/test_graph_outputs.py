"""What the graph stage of a study writes: several images a subject, summaries, float16."""

import shutil

import numpy as np
import pandas as pd
import pytest
from tests.study.conftest import Sparra, Study

from sparra.bags import read_bag
from sparra.cohort.tables import subject_key
from sparra.graphs.store import read_graph
from sparra.graphs.summary import summarise_graph
from sparra.report.patients import Patient, importance_maps
from sparra.report.pictures import Picture
from sparra.study.layout import StudyLayout


def give_second_slide(study: Study) -> str:
    """Give the first subject with a slide a copy of the second one's too; return that subject."""
    rows = study.rows("images.csv")
    first, second = [row for row in rows if row["modality"] == "slide"][:2]
    shutil.copy(study.path(second["path"]), study.path("slides/another.tiff"))
    added = {**second, "subject_id": first["subject_id"], "path": "slides/another.tiff"}
    study.write_rows("images.csv", [*rows, added])
    return first["subject_id"]


def test_two_slides_of_a_subject_are_one_graph_and_its_importance_finds_its_way_back(
    study: Study, sparra: Sparra
) -> None:
    subject = give_second_slide(study)
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    layout = StudyLayout(study.output)
    graph = read_graph(layout.graph("slide", subject_key(subject)))
    assert len(graph.images) == 2
    np.testing.assert_array_equal(*graph.image_of_node[graph.edge_index])
    bags = [read_bag(layout.bag("slide", image)) for image in graph.images]
    assert [int((graph.image_of_node[graph.node_of_patch] == i).sum()) for i in (0, 1)] == [len(bag) for bag in bags]
    for node, members in enumerate(graph.members):
        bag = bags[graph.image_of_node[node]]
        within = members - (0 if graph.image_of_node[node] == 0 else len(bags[0]))
        np.testing.assert_allclose(graph.features[node], bag.features[within].mean(axis=0), rtol=1e-4, atol=1e-5)
    predictions = pd.read_csv(layout.predictions, dtype={"subject_id": str})
    fold = int(predictions.loc[predictions["subject_id"] == subject, "fold"].iloc[0])
    patient = Patient(subject, "highest", 1.0, True, 100.0, fold)
    maps = importance_maps(layout, "joint", "sparra", patient)
    drawn = [found for found in maps if isinstance(found, Picture) and "2 slides" in found.caption]
    assert len(drawn) == 1, maps


def test_summaries_are_one_row_a_graph_and_go_when_switched_off(study: Study, sparra: Sparra) -> None:
    study.change("graphs", summaries=True)
    code, printed = sparra("graph", study.file)
    assert code == 0
    assert "summaries: " in printed
    layout = StudyLayout(study.output)
    table = pd.read_csv(layout.graph_summary, dtype={"subject_id": str}).fillna({"reason": ""})
    graphs = sorted(layout.root.glob("graphs/*/*.safetensors"))
    assert len(table) == len(graphs) == len(study.rows("images.csv"))
    row = table[table["modality"] == "slide"].iloc[-1]
    expected = summarise_graph(read_graph(layout.graph("slide", subject_key(row["subject_id"]))))
    reason = expected.pop("reason")
    assert row["reason"] == reason
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    study.change("graphs", summaries=False)
    sparra("graph", study.file)
    assert not layout.graph_summary.exists()


def test_float16_halves_the_features_on_disk_and_moves_the_graph_no_further_than_rounding(
    study: Study, sparra: Sparra
) -> None:
    layout = StudyLayout(study.output)
    assert sparra("graph", study.file)[0] == 0
    path = next(layout.root.glob("graphs/slide/*.safetensors"))
    bag_path = next(layout.root.glob("features/slide/*.h5"))
    full = np.array(read_graph(path).features)
    study.change("graphs", dtype={"slide": "float16"})
    code, printed = sparra("graph", study.file)
    assert code == 0, printed
    half = read_graph(path).features
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, rtol=2**-10, atol=1e-6)
    assert read_bag(bag_path).features.dtype == np.float32
    study.change("bags", dtype={"slide": "float16"})
    code, printed = sparra("graph", study.file)
    assert code == 0, printed
    assert read_bag(bag_path).features.dtype == np.float16


def test_a_graph_over_the_memory_limit_is_listed_with_its_subject(study: Study, sparra: Sparra) -> None:
    study.change("graphs", slide={"memory_gb": 0.5})
    code, _ = sparra("graph", study.file)
    assert code == 1
    failures = pd.read_csv(StudyLayout(study.output).root / "failures.csv")
    told = failures[failures["stage"] == "graph"]
    assert len(told) == sum(row["modality"] == "slide" for row in study.rows("images.csv"))
    assert told["what"].str.startswith("the graph needs up to").all()
    assert told["mend"].str.contains("raise memory_gb").all()
