"""Throws mutations of the wire cases at the SSMI codec, in both directions, and checks what must hold whatever comes.

    python tests/fuzz/fuzz_codec.py --inputs 10000000 --seed 1 [--direction events|commands] [--engine atheris|random]

Bytes: no exception; however they are cut, the same lines come out; no more than `max_line_bytes` is held; a good line
after garbage is understood; what was understood is written back as a line of the same meaning, or refused for a reason.
Values, as a worker may give them: one whole line that means what it should, or SSMIUsageError.

With atheris (`pip install -e '.[fuzz]'`) the mutations follow the coverage of the codec, else they are random.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

try:
    import atheris
except ImportError:
    atheris = None

if __name__ == "__main__" and atheris is not None and "random" not in sys.argv:
    with atheris.instrument_imports(include=["richmond.ssmi"]):
        from richmond.errors import SSMIUsageError
        from richmond.ssmi import codec
        from richmond.ssmi.text import fit
else:
    from richmond.errors import SSMIUsageError
    from richmond.ssmi import codec
    from richmond.ssmi.text import fit

WIRE = Path(__file__).parent.parent / "wire"
ENCODINGS = ("iso-8859-1", "utf-8", "ascii")
MAX_LINE_BYTES = 120  # small, so that lines get too long
MAX_INPUT_BYTES = 600
DIRECTIONS = ("events", "commands")
DECODERS: dict[str, type[Any]] = {"events": codec.EventDecoder, "commands": codec.CommandDecoder}
CLASSES = {"events": tuple(codec._EVENTS.values()), "commands": tuple(codec._COMMANDS.values())}
GOOD = {"events": codec.FreeForm("still here"), "commands": codec.SendSms("0", "27831112222", "still here")}
CODES = (codec.Ack, codec.Nack)  # are ignored with a code that nobody knows
TOKENS = (
    b"\r", b"\r", b"\n", b"\r\n", b",", b",,", b":", b"SSMI", b"SSMI,", b"\rSSMI,", b"ssmi,", b"\x00", b"\xff", b"\xe9",
    b"\xc3\xa9", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"x" * MAX_LINE_BYTES, b"," * 40, b"-1",
    b"\rSSMI,\xd9\xa1,1",
    *(id.encode() for id in {**codec._EVENTS, **codec._COMMANDS, "113": None, "99999": None}),
)  # fmt: skip


class Broken(AssertionError):
    """What must hold does not."""


def must(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


class Check:
    """`seen`: how often what came out of it, to see that the inputs get everywhere."""

    def __init__(self, direction: str) -> None:
        self._decoder = DECODERS[direction]
        self._classes = CLASSES[direction]
        self._good = GOOD[direction]
        self.seen: Counter[str] = Counter()

    def input(self, data: bytes) -> None:
        """The rest of what it needs comes from the data too, so that an input alone repeats a failure."""
        chance = random.Random(zlib.crc32(data))
        encoding = ENCODINGS[chance.randrange(3)]
        if chance.randrange(4):
            cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
            self.bytes(data, encoding, cuts)
        else:
            self.values(data, encoding, chance)

    def bytes(self, data: bytes, encoding: str, cuts: list[int]) -> None:
        data += b"\r" + codec.encode(self._good, encoding)
        lines = self._decoder(encoding, MAX_LINE_BYTES).feed(data)
        must(bool(lines) and lines[-1] == self._good, "a good line after garbage is not understood")

        decoder, found = self._decoder(encoding, MAX_LINE_BYTES), []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            found += decoder.feed(data[start:end])
            must(len(decoder._half) <= MAX_LINE_BYTES, "more than a line is held")
        must(found == lines, "cut, the same bytes are other lines")

        for line in lines:
            if isinstance(line, codec.Ignored):
                self.seen[line.reason] += 1
                must(len(line.raw) <= codec.EXCERPT_BYTES, "an ignored line is held")
            else:
                self._written_back(line, encoding)

    def values(self, data: bytes, encoding: str, chance: random.Random) -> None:
        """One line of each class, of pieces of the data; some with what no UTF-8 can carry."""
        text = data.decode(chance.choice(ENCODINGS), chance.choice(("replace", "surrogateescape")))
        pieces = re.split(chance.choice(("[,:\r\n]", "[,\r\n]", "\r", "S")), text)
        for cls in (chance.choice(self._classes), codec.Unknown):
            names = cls.__struct_fields__
            values: dict[str, Any] = {name: chance.choice(pieces) for name in names}
            for name in {"genfields", "fields"}.intersection(names):
                values[name] = tuple(chance.choices(pieces, k=chance.randrange(7)))
            if "ussd_type" in names and chance.randrange(8):
                values["ussd_type"] = chance.choice("12345")
            self._one_line(cls(**values), encoding)

    def _written_back(self, line: Any, encoding: str) -> None:
        self.seen[type(line).__name__] += 1
        if isinstance(line, codec.Unknown):
            must(re.fullmatch("[0-9]+", line.id) is not None, "an id that is no number")
        try:
            wire = codec.encode(line, encoding)
        except SSMIUsageError as e:
            self.seen[f"not written back: {e.reason}"] += 1
            if e.reason == "line-break":
                must(any("\n" in field for field in flat(line)), "refused for a line break that it does not have")
            else:
                must(e.reason == "bad-ussd-type", f"understood, but not written: {e.reason}")
            return
        must(self._decoder(encoding, len(wire)).feed(wire) == [line], "written back it means something else")

    def _one_line(self, line: Any, encoding: str) -> None:
        try:
            wire = codec.encode(line, encoding)
        except SSMIUsageError as e:
            self.seen[f"refused: {e.reason}"] += 1
            return
        self.seen[f"written: {type(line).__name__}"] += 1
        must(wire.endswith(b"\r") and wire.count(b"\r") == 1, "not one line")
        read = self._decoder(encoding, len(wire)).feed(wire)
        must(len(read) == 1, "not one line")
        if isinstance(line, codec.Unknown) or (isinstance(line, CODES) and isinstance(read[0], codec.Ignored)):
            return
        must(read[0] == as_written(line, encoding), "it means something else")


def flat(line: Any) -> list[str]:
    return [piece for v in msgspec.structs.astuple(line) for piece in (v if isinstance(v, tuple) else (v,))]


def as_written(line: Any, encoding: str) -> Any:
    """What the other end should understand: a whole set of genfields, and a text that fits."""
    changes: dict[str, Any] = {}
    for name in {"message", "text"}.intersection(line.__struct_fields__):
        changes[name] = fit(getattr(line, name).replace("\r\n", "\n").replace("\r", "\n"), encoding)[0]
    if hasattr(line, "genfields"):
        changes["genfields"] = line.genfields + ("",) * (codec.GENFIELDS - len(line.genfields))
    return msgspec.structs.replace(line, **changes)


def corpus() -> list[bytes]:
    """The wire cases, whole and by line."""
    wires = []
    for path in sorted(WIRE.glob("*.case")):
        wire = path.read_text(encoding="utf-8").split("--- wire\n")[1].split("--- means\n")[0].replace("\n", "")
        wires.append(ast.literal_eval(f'b"{wire}"'))
    return [*wires, *(line + b"\r" for wire in wires for line in wire.split(b"\r"))]


class Mutations:
    """Endless, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._corpus = corpus()

    def next(self) -> bytes:
        chance = self._chance
        data = bytearray(chance.choice(self._corpus))
        for _ in range(chance.randrange(8)):
            at = chance.randrange(len(data) + 1)
            end = at + chance.randrange(1, 12)
            match chance.randrange(7):
                case 0:
                    data[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del data[at:end]
                case 2:
                    data[at:at] = data[at:end]
                case 3:
                    data[at:at] = chance.choice(self._corpus)[:MAX_INPUT_BYTES]
                case 4:
                    data[at:at] = chance.randbytes(chance.randrange(1, 9))
                case _:
                    data[at:at] = chance.choice(TOKENS)
        return bytes(data[:MAX_INPUT_BYTES])


def fuzz(directions: tuple[str, ...], inputs: int, seed: int) -> dict[str, Check]:
    """Inputs by turns for each direction. Raises what was raised, with the input as its note."""
    checks = {direction: Check(direction) for direction in directions}
    mutations, ways = Mutations(seed), list(checks.values())
    for n in range(inputs):
        data = mutations.next()
        try:
            ways[n % len(ways)].input(data)
        except Exception as e:
            e.add_note(f"input {n} of seed {seed}, {directions[n % len(ways)]}: {data!r}")
            raise
    return checks


def fuzz_with_atheris(directions: tuple[str, ...], inputs: int, seed: int) -> int:
    """Every input for each direction. The exit status: libFuzzer ends its process, and says what failed on it."""
    checks = [Check(direction) for direction in directions]

    def one(data: bytes) -> None:
        for check in checks:
            check.input(data)

    with tempfile.TemporaryDirectory(prefix="richmond-fuzz-") as directory:
        for n, data in enumerate(corpus()):
            (Path(directory) / str(n)).write_bytes(data)
        options = {"runs": inputs, "seed": seed, "max_len": MAX_INPUT_BYTES, "print_final_stats": 1}
        options["artifact_prefix"] = f"{tempfile.gettempdir()}/"
        pid = os.fork()
        if not pid:
            atheris.Setup([sys.argv[0], directory, *(f"-{name}={value}" for name, value in options.items())], one)
            atheris.Fuzz()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inputs", type=int, default=100_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--direction", choices=DIRECTIONS, help="both by default, in turns")
    p.add_argument("--engine", choices=("atheris", "random"), default="random" if atheris is None else "atheris")
    o = p.parse_args()
    directions = (o.direction,) if o.direction else DIRECTIONS
    if o.engine == "atheris":
        if atheris is None:
            p.error("atheris is not installed: pip install -e '.[fuzz]'")
        sys.exit(fuzz_with_atheris(directions, o.inputs, o.seed))
    began = time.perf_counter()
    checks = fuzz(directions, o.inputs, o.seed)
    took = time.perf_counter() - began
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for direction, check in checks.items():
        print(f"{direction}: " + ", ".join(f"{what} {count:,}" for what, count in check.seen.most_common()))
    print(f"{o.inputs:,} inputs of seed {o.seed}, nothing found; {took:.0f} s, at most {rss_mb:.0f} MB")


if __name__ == "__main__":
    main()
