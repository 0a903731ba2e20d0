"""Learning curves as stored: n epochs as int32, n accuracies and n losses as float32, one after another, zlib."""

import array
import zlib
from collections.abc import Sequence


def pack(epochs: Sequence[int], accuracy: Sequence[float], loss: Sequence[float]) -> bytes:
    """Pack a curve, three sequences of one length, for the column `points` of `fewest_curves`."""
    parts = (array.array("i", epochs), array.array("f", accuracy), array.array("f", loss))
    return zlib.compress(b"".join(part.tobytes() for part in parts))


def unpack(points: bytes) -> tuple[list[int], list[float], list[float]]:
    """Unpack the epochs, accuracies and losses of a curve."""
    raw = zlib.decompress(points)
    n = len(raw) // 3
    epochs, rest = array.array("i", raw[:n]), array.array("f", raw[n:])
    return epochs.tolist(), rest[: n // 4].tolist(), rest[n // 4 :].tolist()
