"""How a valid file is broken: bytes, words of a text, or the parts of a container."""

import gzip
import io
import json
import re
import struct
import zipfile
from random import Random

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1)
WORDS = (
    "0", "-1", "1e308", "-1e308", "NaN", "Infinity", "1e-320", "99999999999999999999", "null", "true", "[]", "{}", '""',
    "[[[[]]]]", '"\\ud800"', "\x00", "~", "&a", "*a", "!!python/object:os.system", "- ", ": ", "<<: *a", "2001-01-01",
)  # fmt: skip
TOKEN = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?|\"[^\"]*\"|\w+|[^\w\s]")
LARGEST = 1 << 16


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """Apply one to four changes, half of them in the first 512 bytes, where headers are."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice((_flip, _flip, _number, _number, _cut, _repeat, _insert, _truncate))(data, random)
    return bytes(data[:LARGEST])


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(max(min(len(data), 512 if random.random() < 0.5 else len(data)), 1))


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _number(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    if random.random() < 0.3:
        packed = struct.pack(random.choice("<>") + random.choice("fd"), random.choice((0.0, -1.0, 1e38, float("nan"))))
    else:
        size = random.choice((1, 2, 4, 8))
        value = random.choice(NUMBERS) % (1 << (8 * size))
        packed = value.to_bytes(size, random.choice(("little", "big")))
    data[at : at + len(packed)] = packed


def _cut(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 16, 128))]


def _repeat(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at:at] = data[at : at + random.choice((1, 4, 16, 128))] * random.choice((1, 2, 8))


def _insert(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 8, 32)))


def _truncate(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def mutate_text(content: bytes, random: Random) -> bytes:
    """Replace, drop, repeat or nest words and lines of a text, or break its bytes."""
    if random.random() < 0.25:
        return mutate_bytes(content, random)
    text = content.decode("utf-8", "replace")
    for _ in range(random.choice((1, 1, 2, 4))):
        text = _change_text(text, random)
    return text.encode("utf-8", "surrogatepass")[:LARGEST]


def _change_text(text: str, random: Random) -> str:
    tokens = list(TOKEN.finditer(text))
    if not tokens:
        return random.choice(WORDS)
    start, end = random.choice(tokens).span()
    other = random.choice(tokens).group()
    new = random.choice((
        random.choice(WORDS), random.choice(WORDS), str(random.choice(NUMBERS)), "", other, text[start:end] * 50,
        "[" * 3000, '{"a":' * 2000, text[start:end] + "\n" + text[start:end], bomb(),
    ))  # fmt: skip
    return text[:start] + new + text[end:]


def bomb() -> str:
    """Return a YAML text that doubles itself twenty-six times by aliases."""
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 27)]
    return "\n".join(lines) + "\n"


def mutate_gzip(content: bytes, random: Random) -> bytes:
    """Break what is packed, or the packing."""
    if random.random() < 0.2:
        return mutate_bytes(content, random)
    return gzip.compress(mutate_bytes(gzip.decompress(content), random), 1)


def mutate_zip(content: bytes, random: Random) -> bytes:
    """Break a member of an archive, or the archive."""
    if random.random() < 0.3:
        return mutate_bytes(content, random)
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(result, "w") as target:
        names = source.namelist()
        chosen = random.choice(names)
        for name in names:
            member = source.read(name)
            target.writestr(name, mutate_bytes(member, random) if name == chosen else member)
    return result.getvalue()


def mutate_safetensors(content: bytes, random: Random) -> bytes:
    """Break the header's JSON under a true length, or the bytes."""
    if random.random() < 0.4:
        return mutate_bytes(content, random)
    length = int.from_bytes(content[:8], "little")
    header = mutate_text(content[8 : 8 + length], random)
    if random.random() < 0.3:
        fields = json.loads(content[8 : 8 + length])
        entry = fields[random.choice([name for name in fields if name != "__metadata__"])]
        entry["shape"] = [random.choice(NUMBERS) for _ in range(random.randrange(4))]
        header = json.dumps(fields).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
