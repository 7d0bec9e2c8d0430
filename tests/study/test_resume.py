"""A training that is cut off goes on from the last states of its networks, and ends as if it had not been."""

import os

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.study.conftest import QUICK

from sparra.study import resume
from sparra.study.resume import forget, states_in
from sparra.training import fit
from sparra.training.checkpoint import FitState

KEY = {
    "stage": "train",
    "inputs": {"graphs": {"path": "/a/index.json", "size": 3, "sha256": "ab"}},
    "parameters": {"seed": 0},
    "versions": {"torch": "2"},
}
TRAINED = ("weights.safetensors", "model.json", "embeddings.safetensors", "importance.safetensors", "curve.csv")
# Epochs of a joint SPARRA of one model and two inner ones, two each, in one of two folds.
ONE_TRAINING = 6


@pytest.fixture
def always(monkeypatch):
    """Keep a state after every epoch."""
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_STATES", 0.0)


def trained(study):
    return {
        path.relative_to(study.output): path.read_bytes()
        for path in sorted((study.output / "models").rglob("*"))
        if path.name in TRAINED
    }


def epochs_of(monkeypatch):
    """Count the epochs that are trained from now on."""
    epochs, train_epoch = [], fit._train_epoch
    monkeypatch.setattr(fit, "_train_epoch", lambda *items: epochs.append(0) or train_epoch(*items))
    return epochs


def small(study):
    study.change("methods", aggregators=["sparra"], cross_fit_folds=2)
    study.change("training", ensemble=1)


def cut_off(study, sparra, monkeypatch, n_states):
    """Train until so many states are written."""
    save, saved = FitState.save, []

    def save_and_stop(self, folder, key):
        save(self, folder, key)
        saved.append(folder)
        if len(saved) == n_states:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FitState, "save", save_and_stop)
        assert sparra("train", study.file)[0] != 0


@pytest.mark.parametrize("n_states", [1, 2, 5])  # In the outer fit, at its end, in an inner one.
def test_a_run_that_is_cut_off_trains_only_what_is_left(n_states, study, sparra, monkeypatch, always):
    small(study)
    assert sparra("train", study.file)[0] == 0
    undisturbed = trained(study)
    (study.output / "models").rename(study.folder / "elsewhere")
    cut_off(study, sparra, monkeypatch, n_states)
    epochs = epochs_of(monkeypatch)
    assert sparra("train", study.file)[0] == 0
    assert len(epochs) == 2 * ONE_TRAINING - n_states
    assert trained(study) == undisturbed
    assert not list((study.output / "models").rglob("checkpoint"))


def test_the_protocol_paper_which_has_no_cross_fitting_goes_on_too(study, sparra, monkeypatch, always):
    study.write({**QUICK, "protocol": "paper", "evaluation": {"folds": 2, "survival_models": ["CoxPH"]}})
    study.change("methods", aggregators=["sparra"])
    study.change("training", ensemble=1)
    cut_off(study, sparra, monkeypatch, 1)
    epochs = epochs_of(monkeypatch)
    assert sparra("train", study.file)[0] == 0
    assert len(epochs) == 3  # Of two folds of two.


def test_states_of_other_settings_and_damaged_ones_are_not_taken_up(study, sparra, monkeypatch, always):
    small(study)
    monkeypatch.setattr("sparra.study.learn.forget", lambda states: None)
    assert sparra("train", study.file)[0] == 0
    wanted = trained(study)
    states = sorted((study.output / "models").rglob("state.safetensors"))
    assert len(states) == ONE_TRAINING
    states[0].write_bytes(states[0].read_bytes()[:-10])
    study.change("training", learning_rate=1e-3)
    epochs = epochs_of(monkeypatch)
    assert sparra("train", study.file)[0] == 0
    assert len(epochs) == 2 * ONE_TRAINING
    assert trained(study) != wanted
    study.change("training", learning_rate=3e-4)
    assert sparra("train", study.file)[0] == 0
    assert trained(study) == wanted


def test_a_training_shorter_than_the_time_between_states_writes_none(study, sparra, monkeypatch):
    small(study)
    monkeypatch.setattr(FitState, "save", lambda *_: pytest.fail("a state was written"))
    assert sparra("train", study.file)[0] == 0


def test_states_are_told_apart_by_what_inputs_hold_not_by_where_they_lie(tmp_path):
    key = states_in(tmp_path, KEY).key
    moved = {**KEY, "inputs": {"graphs": {"path": "/b/index.json", "size": 4, "sha256": "ab"}}}
    assert states_in(tmp_path, moved).key == key
    for changed in (
        {**KEY, "inputs": {"graphs": {**KEY["inputs"]["graphs"], "sha256": "cd"}}},
        {**KEY, "parameters": {"seed": 1}},
        {**KEY, "versions": {"torch": "3"}},
    ):
        assert states_in(tmp_path, changed).key != key


def test_states_of_another_key_and_unreadable_ones_are_removed_and_the_rest_stay(tmp_path):
    states = states_in(tmp_path / "states", KEY)
    for name, key in (("own", states.key), ("other", "0")):
        path = states.of(name).folder / "state.safetensors"
        path.parent.mkdir(parents=True)
        save_file({"model.a": np.zeros(1)}, path, {"sparra": f'{{"format": "sparra-fit-1", "key": "{key}"}}'})
    (states.of("damaged").folder / "state.safetensors").parent.mkdir()
    (states.of("damaged").folder / "state.safetensors").write_bytes(b"x")
    states_in(tmp_path / "states", KEY)
    assert [path.parent.name for path in sorted(states.folder.rglob("*.safetensors"))] == ["own"]
    (states.folder / ".partial-0-state.safetensors").write_bytes(b"")
    forget(states)
    assert not states.folder.exists()
    forget(states)


@pytest.mark.parametrize("header", ["[1]", '{"format": "sparra-fit-1"}'])
def test_a_state_without_a_key_is_removed(header, tmp_path):
    path = tmp_path / "outer" / "state.safetensors"
    path.parent.mkdir()
    save_file({"model.a": np.zeros(1)}, path, {"sparra": header})
    states_in(tmp_path, KEY)
    assert not path.exists()


@pytest.mark.parametrize("make", ["folder", "link to a folder", "pipe"])
def test_what_lies_in_a_states_place_and_is_no_file_is_removed(make, tmp_path):
    path, beside = tmp_path / "states" / "outer" / "state.safetensors", tmp_path / "beside"
    path.parent.mkdir(parents=True)
    beside.mkdir()
    (beside / "a").write_text("")
    if make == "folder":
        (path / "a").mkdir(parents=True)
    elif make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(beside)
    states_in(tmp_path / "states", KEY)
    assert not os.path.lexists(path)
    assert (beside / "a").exists()
