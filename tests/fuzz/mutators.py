"""One mutant of a seed, told by a number: the same number gives the same mutant.

Comes in: the seeds of one kind, and a number. Goes out: the damaged file. The ways of damaging are those of real
accidents (bits, cuts, pieces twice or in another order) and of attackers (extreme numbers where a size, a count or a
position is stored).
"""

import random
from collections.abc import Callable
from functools import cache

from fuzz.layouts import Layout, read_layout

EXTREMES = (0, 1, 2, 3, 7, 8, 255, 256, 4095, 4096, 32767, 32768, 65500, 65535)
HEADER_BYTES = 64
MOST_STEPS = 4
"""Most damages of one mutant; more hide each other."""

Damage = Callable[[bytearray, Layout, random.Random], None]


def make_mutant(seeds: list[bytes], number: int) -> bytes:
    """Return mutant `number`."""
    draw = random.Random(number)
    seed = seeds[draw.randrange(len(seeds))]
    layout = _layout(seed)
    data = bytearray(seed)
    steps = draw.choice((1, 1, 1, 2, 2, 3, MOST_STEPS))
    for _ in range(steps):
        draw.choice(DAMAGES)(data, layout, draw)
        if not data:
            break
    return layout.mend(bytes(data)) if draw.random() < 0.8 else bytes(data)


@cache
def _layout(seed: bytes) -> Layout:
    return read_layout(seed)


def _flip_bits(data: bytearray, _: Layout, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _set_bytes(data: bytearray, _: Layout, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 3, 16))):
        data[draw.randrange(len(data))] = draw.choice((0, 255, draw.randrange(256)))


def _set_header_byte(data: bytearray, _: Layout, draw: random.Random) -> None:
    data[draw.randrange(min(HEADER_BYTES, len(data)))] = draw.randrange(256)


def _set_number(data: bytearray, layout: Layout, draw: random.Random) -> None:
    """Put an extreme value, a neighbour of the old one, a position in the file, or another number, into a number."""
    position, size = draw.choice(layout.numbers)
    if position + size > len(data):
        return
    order = "little" if layout.order == "<" else "big"
    most = (1 << 8 * size) - 1
    old = int.from_bytes(data[position : position + size], order)
    other_position, other_size = draw.choice(layout.numbers)
    other = int.from_bytes(data[other_position : other_position + other_size], order)
    value = draw.choice(
        (
            draw.choice(EXTREMES),
            most - draw.choice((0, 1, most >> 1, most >> 2)),
            old + draw.choice((-1, 1)),
            old << draw.randrange(1, 8 * size + 1),
            draw.choice((len(data), len(data) - 1, draw.randrange(len(data)), position)),
            draw.choice(layout.pieces)[0],
            draw.randrange(most + 1),
            other,
        )
    )
    data[position : position + size] = (value & most).to_bytes(size, order)


def _cut(data: bytearray, _: Layout, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _double(data: bytearray, layout: Layout, draw: random.Random) -> None:
    start, end = draw.choice(layout.pieces)
    data[end:end] = data[start:end] * draw.choice((1, 1, 2, 30))


def _take_out(data: bytearray, layout: Layout, draw: random.Random) -> None:
    if draw.random() < 0.5:
        start, end = draw.choice(layout.pieces)
    else:
        start = draw.randrange(len(data))
        end = start + draw.choice((1, 2, 4, 100))
    del data[start:end]


def _put_in(data: bytearray, _: Layout, draw: random.Random) -> None:
    position = draw.randrange(len(data) + 1)
    data[position:position] = draw.randbytes(draw.choice((1, 2, 4, 100)))


def _swap(data: bytearray, layout: Layout, draw: random.Random) -> None:
    one, other = sorted((draw.choice(layout.pieces), draw.choice(layout.pieces)))
    if one[1] <= other[0]:
        first, second = data[slice(*one)], data[slice(*other)]
        data[slice(*other)] = first
        data[slice(*one)] = second


def _copy_over(data: bytearray, layout: Layout, draw: random.Random) -> None:
    source, target = draw.choice(layout.pieces), draw.choice(layout.pieces)
    count = min(source[1] - source[0], target[1] - target[0])
    data[target[0] : target[0] + count] = data[source[0] : source[0] + count]


DAMAGES: tuple[Damage, ...] = (
    _flip_bits,
    _set_bytes,
    _set_header_byte,
    *(_set_number,) * 6,
    _cut,
    _double,
    _take_out,
    _put_in,
    _swap,
    _copy_over,
)
