import re
from pathlib import Path

import sparra

# Seeded in a way of its own, see docs/architecture.md.
APART = "perturbation.py"


def test_no_two_uses_draw_from_one_stream() -> None:
    numbers: dict[str, str] = {}
    for path in sorted(Path(sparra.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"^_?STREAM = (\d+)", text, re.MULTILINE) + re.findall(r"default_rng\(\[(\d+),", text)
        for number in () if path.name == APART else found:
            assert number not in numbers, f"{path.name} and {numbers[number]} both draw from stream {number}"
            numbers[number] = path.name
    assert {"8", "13"} <= set(numbers)
