"""What the loader of ``study.yaml`` refuses, and how fast."""

import time

import pytest
import yaml

from sparra.study.settings import _UniqueKeys


def test_many_keys_are_read_in_linear_time() -> None:
    def seconds(text: str) -> float:
        start = time.process_time()
        assert len(yaml.load(text, _UniqueKeys)["option"]) == count
        return time.process_time() - start

    count = 20_000
    mapping = "option:\n" + "".join(f"  k{number}: 1\n" for number in range(count))
    listing = "option:\n" + "".join(f"  - k{number}\n" for number in range(count))
    assert seconds(mapping) < 6 * seconds(listing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' occurs twice"),
        ("a: {x: 1, y: 2, x: 1}\n", "key 'x' occurs twice"),
        ("1: a\ntrue: b\n", "key 'True' occurs twice"),
        ("? [1, 2]\n: a\n? [1, 2]\n: b\n", "unhashable key"),
    ],
)
def test_a_key_named_twice_or_no_key_is_refused(text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError, match=words):
        yaml.load(text, _UniqueKeys)
