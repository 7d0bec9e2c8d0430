"""A whole tumour as one row: graphs of one node go the whole way, from the CT to the maps."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file

from sparra.graphs.store import read_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_one_node_graphs_go_the_whole_way(study: Any, sparra: "Callable[..., tuple[int, str]]") -> None:
    content = yaml.safe_load(study.file.read_text())
    content["ct"] = {"encoder": "radiomics", "encoder_options": {"families": ["shape", "intensity"]}}
    content["methods"] = {"aggregators": ["mean", "abmil", "sparra"], "modalities": ["ct"], "cross_fit_folds": 2}
    content["graphs"] = {"pictures": True, "summaries": True}
    study.write(content)
    study.write_rows("images.csv", [row for row in study.rows("images.csv") if row["modality"] == "ct"])
    with_ct = {row["subject_id"] for row in study.rows("images.csv")}
    study.write_rows("subjects.csv", [row for row in study.rows("subjects.csv") if row["subject_id"] in with_ct])
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    output: Path = study.output
    graphs = [read_graph(path) for path in sorted((output / "graphs" / "ct").glob("*.safetensors"))]
    assert len(graphs) == len(with_ct)
    assert {len(graph) for graph in graphs} == {1}
    assert {graph.edge_index.shape[1] for graph in graphs} == {0}
    predictions = pd.read_csv(output / "evaluation" / "predictions.csv")
    assert set(predictions["aggregator"]) == {"mean", "abmil", "sparra"}
    assert np.isfinite(predictions["risk"]).all()
    importance = load_file(next((output / "models" / "ct" / "sparra").glob("fold-*")) / "importance.safetensors")
    assert importance
    assert all(len(values) == 1 and np.isfinite(values).all() for values in importance.values())
    page = (output / "report" / "index.html").read_text()
    assert page.count("data:image/png") > 2
