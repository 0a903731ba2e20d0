"""The samples of a CSV file: a line that names the columns, then a line for each sample, one column its label.

Separated by comma, semicolon or tab, in UTF-8, with or without quotes. Places in it are told by the line of the file,
as an editor counts them, and the column's name.
"""

import csv
import difflib
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from objectives.data.waves import Floats, Labels
from search.errors import UsageError
from search.files import listed, shown

SEPARATORS = ",;\t"
_QUOTED = re.compile(r'"[^"]*"')
LONGEST = 1 << 26  # characters of a line, so that no file without lines is read whole


def columns(file: BinaryIO, label: str | None) -> tuple[Floats, list[str], Labels]:
    """The features, what the labels are, and for each sample which of those it has; UsageError says what is wrong."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        lines = _lines(text)
        try:
            first = next(lines, "")
            separator = max(SEPARATORS, key=_QUOTED.sub("", first).count)
            reader = csv.reader(chain((first,), lines), delimiter=separator, strict=True)
            names = [name.strip() for name in next(reader)]
            return _read(reader, names, _column(names, label))
        except csv.Error as error:
            raise UsageError(f"line {reader.line_num}: {shown(str(error))}") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"it is neither an npz file nor text in UTF-8: {error.reason}") from None


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, LONGEST), ""), start=1):
        if "\0" in line:
            raise UsageError(f"it is neither an npz file nor text: line {number} has a zero byte")
        if len(line) == LONGEST:
            raise UsageError(f"line {number} has more than {LONGEST} characters; is it a CSV file?")
        yield line


def _column(names: Sequence[str], label: str | None) -> int:
    """Where the label is."""
    present = f"its columns are {listed(names)}"
    if not any(names):
        raise UsageError("its first line is blank; it must name the columns")
    if label is None:
        raise UsageError(f"name the column of the labels with `--label`; {present}")
    if label not in names:
        near = difflib.get_close_matches(label, names, n=1)
        raise UsageError(f"no column {label!r} in it; {f'did you mean {near[0]!r}?' if near else present}")
    if names.count(label) > 1:
        raise UsageError(f"two of its columns are called {shown(label)!r}; {present}")
    if len(names) == 1:
        raise UsageError(f"{shown(label)!r} is its only column; it needs features, split by comma, semicolon or tab")
    if "" in names:
        hint = "give it one, or leave it out if it only counts the lines (pandas: `to_csv(…, index=False)`)"
        raise UsageError(f"column {names.index('') + 1} has no name; {hint}")
    return names.index(label)


def _read(reader: Any, names: list[str], at: int) -> tuple[Floats, list[str], Labels]:
    """All the lines after the first. In arrays as they come: as lists, 20 million numbers take eight times as much."""
    label, features = names[at], names[:at] + names[at + 1 :]
    values, labels, lines, codes = array("f"), array("q"), array("q"), dict[str, int]()
    for row in reader:
        if len(row) != len(names):
            if not "".join(row).strip():
                continue
            raise UsageError(f"line {reader.line_num} has {len(row)} cells, the first has {len(names)}")
        cell = row.pop(at).strip()
        if not cell:
            raise UsageError(f"line {reader.line_num}, column {shown(label)!r} is empty; every sample needs a label")
        try:
            if "_" in "".join(row):  # Python reads 1_000 as a number
                raise ValueError
            values.extend(map(float, row))
        except ValueError:
            raise _no_number(reader.line_num, features, row) from None
        labels.append(codes.setdefault(cell, len(codes)))
        lines.append(reader.line_num)
    if not labels:
        raise UsageError("there is no line after the first, which names the columns")
    x = np.frombuffer(values, dtype=np.float32).reshape(len(labels), len(features))
    wrong = ~np.isfinite(x)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UsageError(f"line {lines[row]}, column {shown(features[column])!r} must be finite in 32 bits")
    return x, list(codes), np.frombuffer(labels, dtype=np.int64)


def _no_number(line: int, features: Sequence[str], row: Sequence[str]) -> UsageError:
    """What to say of the first cell of a line that is no number."""
    for cell in row:
        try:
            float(cell.replace("_", "x"))
        except ValueError:
            break
    wrong = f"is {shown(cell, 40)!r}, not a number" if cell.strip() else "is empty; every feature needs a number"
    return UsageError(f"line {line}, column {shown(features[row.index(cell)])!r} {wrong}")
