import argparse
import os
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sparra.errors import UserError
from sparra.weights.checkpoint import read_checkpoint


class Callback:
    """Something that a training framework pickles beside the tensors."""

    def __init__(self) -> None:
        self.best = 3


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_both_formats_are_read(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"teacher": state}, tmp_path / "a.pth")
    torch.save({"teacher": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for content in (
        read_checkpoint(tmp_path / "a.safetensors"),
        read_checkpoint(tmp_path / "a.pth")["teacher"],
        read_checkpoint(tmp_path / "old.pth")["teacher"],
    ):
        assert all(torch.equal(content[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("declared", [[], [defaultdict, Callback]])
def test_objects_of_the_training_are_left_out_and_tensors_read(tmp_path: Path, declared: list[type]) -> None:
    """As DINO saves its options, and Lightning its callbacks under their classes; other packages may call them safe."""
    content = {
        "state_dict": {"w": torch.ones(2)},
        "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=1)),
        "callbacks": {Callback: {"best": 1}},
        "object": Callback(),
        "history": defaultdict(list, {"loss": [1.0]}),
        "best": np.float64(0.9),
        "hyper_parameters": {"size": (1, 2)},
    }
    torch.save(content, tmp_path / "training.ckpt")
    with torch.serialization.safe_globals(declared):
        found = read_checkpoint(tmp_path / "training.ckpt")
        assert set(declared) <= set(torch.serialization.get_safe_globals())
    assert torch.equal(found["state_dict"]["w"], torch.ones(2))
    assert not isinstance(found["args"], argparse.Namespace)
    assert not isinstance(found["object"], Callback)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"harmful-{zipped}.pth"
        torch.save({"w": Harmful(tmp_path / "made")}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r"no checkpoint needs|would have to be run"):
            read_checkpoint(path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "made")))
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "plain.pth")
    assert not (tmp_path / "made").exists()


class Evaluated:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_code_in_a_file_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"w": Evaluated()}, tmp_path / "harmful.pth")
    with pytest.raises(UserError, match=r"names 'builtins\.eval', which no checkpoint needs"):
        read_checkpoint(tmp_path / "harmful.pth")


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1000)}, tmp_path / "whole.pth")
    save_file({"w": torch.ones(1000)}, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
            path = tmp_path / f"broken-{name}"
            path.write_bytes(content)
            with pytest.raises(UserError) as error:
                read_checkpoint(path)
            assert "\n" not in str(error.value)
            assert str(path) in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pth")
