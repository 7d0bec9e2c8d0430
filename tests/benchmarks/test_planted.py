import json
import sys

import numpy as np
import pandas as pd
import pytest
from benchmarks.parts import paired
from sksurv.metrics import concordance_index_censored

from benchmarks import planted
from sparra.errors import UserError


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Tables of two seeds: `default` of both, `mean` and `abmil` of the first alone."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(planted, "RESULTS", tmp_path)
    monkeypatch.setattr(planted, "run", lambda *_: None)
    monkeypatch.setattr(paired, "RESAMPLES", 10)
    for percent in planted.SHARES:
        for seed in (0, 1):
            true = rng.normal(size=40)
            table = pd.DataFrame(
                {
                    "share": percent,
                    "seed": seed,
                    "patient": [f"P{index}" for index in range(40)],
                    "time": rng.exponential(size=40) * np.exp(-true),
                    "event": rng.random(40) < 0.7,
                    "oracle": true,
                }
            )
            for name in ("default", "mean", "abmil")[: 1 if seed else 3]:
                table[name], table[f"{name}_auroc"] = true + rng.normal(size=40), 0.7 + 0.1 * seed
            (tmp_path / "planted").mkdir(exist_ok=True)
            table.to_csv(tmp_path / "planted" / f"{percent}-{seed}.csv", index=False)
    return tmp_path


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["planted", *arguments])
    planted.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_one_method_is_summarised_without_its_rivals(finished, monkeypatch, capsys):
    figures = run(monkeypatch, capsys, "--methods", "default")
    assert figures["seeds"] == 2
    assert figures["importance_auroc_4"] == pytest.approx(0.75)
    assert not any("minus" in name for name in figures)
    assert not (finished / "planted.csv").exists()  # the table of all methods stays as it is


def test_methods_without_a_finished_seed_are_left_out_of_the_comparison(finished, monkeypatch, capsys):
    figures = run(monkeypatch, capsys, "--methods", "default", "abmil", "paper")
    assert figures["seeds"] == 1
    table = pd.read_csv(finished / "planted" / "20-0.csv")
    one, other = (
        concordance_index_censored(table["event"], table["time"], table[name])[0] for name in ("default", "abmil")
    )
    assert figures["default_minus_abmil_20"] == pytest.approx(one - other, abs=1e-4)
    assert "default_minus_mean_20" not in figures


def test_rivals_alone_have_no_difference_to_default(finished, monkeypatch, capsys):
    figures = run(monkeypatch, capsys, "--methods", "mean", "abmil")
    assert {"abmil_importance_auroc_1", "oracle_100"} <= set(figures)
    assert not any(name.startswith("default") for name in figures)


def test_nothing_finished_is_said(finished, monkeypatch, capsys):
    with pytest.raises(UserError, match="no seed is finished"):
        run(monkeypatch, capsys, "--methods", "paper")
