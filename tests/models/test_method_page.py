import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8")
PACKAGES = {"gradients": "training"}


def names_in_the_table():
    table = PAGE.split("## From the paper to the line")[1].split("Published hyper-parameters")[0]
    return sorted(set(re.findall(r"`([a-z]+\.[A-Za-z_.]+)`", table)))


@pytest.mark.parametrize("name", names_in_the_table())
def test_the_page_names_what_is_in_the_code(name):
    module, *parts = name.split(".")
    found = importlib.import_module(f"sparra.{PACKAGES.get(module, 'models')}.{module}")
    for part in parts:
        found = getattr(found, part)


def test_every_equation_has_a_line():
    for number in range(1, 9):
        assert f"| ({number})" in PAGE
