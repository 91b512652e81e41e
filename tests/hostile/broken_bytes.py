"""Ways to damage the bytes of any file: each makes those of a bad file from those of a good one.

``chance`` is a ``random.Random``. Further arguments, which other kinds of damage need, are ignored.
"""


def truncated(good, chance, *others):
    return good[: chance.randrange(len(good))]


def flipped(good, chance, *others):
    bad = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 4, 30))):
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
    return bytes(bad)


def overwritten(good, chance, *others):
    start, size = chance.randrange(len(good)), chance.choice((1, 8, 100, 600, 5000))
    return good[:start] + chance.randbytes(min(size, len(good) - start)) + good[start + size :]
