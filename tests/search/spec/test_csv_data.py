"""A CSV file is read as a person meant it, or refused with its line and column."""

import csv
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from search.errors import UsageError
from search.spec import dataset as data

PLAIN = "a,b,kind\n0,1,oak\n2,3,ash\n4,5,oak\n6,7,ash\n"


def written(directory: Path, text: str | bytes, name: str = "own.csv") -> Path:
    """A file of that text."""
    (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return directory / name


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.rstrip(),
        PLAIN + "\n\n  \n",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", " , "),
        "\ufeff" + PLAIN,
        PLAIN.replace("oak", '"oak"').replace("kind", '"kind"').replace("2", '"2.0"'),
        PLAIN.replace("0,1", "0e0,+1.").replace("\n2,3", "\n\n2,3"),
        "kind,a,b\noak,0,1\nash,2,3\noak,4,5\nash,6,7\n",
        'a,"b;b;b;b",kind\n0,1,oak\n2,3,ash\n4,5,oak\n6,7,ash\n',
    ],
)
def test_one_table_is_written_in_many_ways(text: str, tmp_path: Path) -> None:
    """With or without a byte order mark, quotes, blank lines, spaces; whatever ends a line and separates cells."""
    reference, samples = data.read(written(tmp_path, text), "kind")
    assert samples.x.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]] and samples.x.dtype == np.float32
    assert samples.names == ("ash", "oak") and samples.labels.tolist() == [1, 0, 1, 0]
    assert reference.name == "own.csv" and (reference.samples, reference.features) == (4, 2)


@pytest.mark.parametrize(
    ("texts", "names", "labels"),
    [
        (["10", "9", "10", "9"], ("9", "10"), [1, 0, 1, 0]),
        (["-3", "1e3", "1000", "-3.0"], ("-3", "1000"), [0, 1, 1, 0]),
        (["007", "7", "007", "7"], ("007", "7"), [0, 1, 0, 1]),
        (["1.5", "b", "1.5", "b"], ("1.5", "b"), [0, 1, 0, 1]),
        (["Ähre", '"a, b"', "Ähre", '"a, b"'], ("a, b", "Ähre"), [1, 0, 1, 0]),
    ],
)
def test_labels_that_all_are_whole_numbers_are_numbers(
    texts: list[str], names: tuple[str, ...], labels: list[int], tmp_path: Path
) -> None:
    """However they are written, and sorted as such; else they are texts, as one with zeros in front."""
    lines = [f"{number},{text}" for number, text in enumerate(texts)]
    _, samples = data.read(written(tmp_path, "\n".join(["a,kind", *lines])), "kind")
    assert samples.names == names and samples.labels.tolist() == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no column 'kind' in it; its columns are a, b"),
        ("a,kinds\n1,2\n", "no column 'kind' in it; did you mean 'kinds'?"),
        ("kind\n1\n", "'kind' is its only column"),
        ("kind,a,kind\n1,2,3\n", "two of its columns are called 'kind'"),
        (",a,kind\n0,1,2\n", "column 1 has no name"),
        ("\na,kind\n", "its first line is blank"),
        ("a,kind\n", "no line after the first"),
        (PLAIN + "8,9\n", "line 6 has 2 cells, the first has 3"),
        (PLAIN + "8,9,oak,\n", "line 6 has 4 cells"),
        (PLAIN + "\n8,,oak\n", "line 7, column 'b' is empty"),
        (PLAIN + "8,9,\n", "line 6, column 'kind' is empty; every sample needs a label"),
        (PLAIN + "8,NA,oak\n", "line 6, column 'b' is 'NA', not a number"),
        (PLAIN + "1_0,9,oak\n", "line 6, column 'a' is '1_0', not a number"),
        (PLAIN + "8,nan,oak\n", "line 6, column 'b' must be finite"),
        (PLAIN + "8,-inf,oak\n", "line 6, column 'b' must be finite"),
        ("\n".join([PLAIN, "1e39,9,oak"]), "line 7, column 'a' must be finite in 32 bits"),
        (PLAIN.replace(",", ";") + "8,5;9;oak\n", "line 6, column 'a' is '8,5', not a number"),
        (PLAIN + '8,9,"oak\n', "line 6: unexpected end of data"),
        (PLAIN + "8,9,elm\n", "class 'elm' has one sample only"),
        (PLAIN.replace("oak", "ash"), "one class only, 'ash'"),
        (PLAIN.replace("oak", "0.5").replace("ash", "1"), "the label 0.5 is not a whole number"),
        ("a,kind\n3,oak\n3,ash\n3,oak\n3,ash\n", "every feature is constant"),
        (PLAIN + "8,9,o\0k\n", "neither an npz file nor text: line 6 has a zero byte"),
        ("a,kind\n1,\xe4\n".encode("latin-1"), "neither an npz file nor text in UTF-8"),
        (PLAIN.encode("utf-16"), "neither an npz file nor text"),
        ("", "it is empty"),
        ("x" * 200_000 + ",kind\n", "line 1: field larger than field limit"),
        ('"a\nb",c\n', r"its columns are 'a\nb', c"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_in_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    """The file, the line, the column and what is wrong there."""
    with pytest.raises(UsageError) as refused:
        data.read(written(tmp_path, text), "kind")
    assert (
        message in str(refused.value)
        and "own.csv: " in str(refused.value)
        and len(str(refused.value).splitlines()) == 1
    )


def test_without_a_label_the_columns_are_named(tmp_path: Path) -> None:
    """The first dozen of many; and the label of an npz file is its `y`."""
    many = written(tmp_path, ",".join(f"x{i}" for i in range(200)) + "\n")
    with pytest.raises(UsageError, match=r"with `--label`; its columns are x0, x1, .*, x11 and 188 more$"):
        data.read(many)
    np.savez(tmp_path / "own.npz", X=np.eye(4), y=[0, 1, 0, 1])
    with pytest.raises(UsageError, match="`--label` is for CSV"):
        data.read(tmp_path / "own.npz", "y")


@pytest.mark.parametrize("names", [None, [f"digit {label}" for label in range(10)]])
def test_the_same_data_are_the_same_of_both_kinds(names: list[str] | None, tmp_path: Path) -> None:
    """Digits as npz and as CSV, with numbers or texts as labels, and as floats that need all of 64 bits."""
    x, y = load_digits(return_X_y=True)
    x = x / 3
    labels = np.array([names[label] for label in y]) if names else y
    np.savez(tmp_path / "digits.npz", X=x, y=labels)
    with (tmp_path / "digits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*range(64), "digit"])
        writer.writerows([*row, label] for row, label in zip(x.tolist(), labels.tolist(), strict=True))
    one, other = data.read(tmp_path / "digits.npz")[0], data.read(tmp_path / "digits.csv", "digit")[0]
    assert one == other and one.digest == other.digest and one.features == 64


def test_a_large_table_is_read_in_little_time_and_memory(tmp_path: Path) -> None:
    """A million numbers take no more than their 4 MB a few times over, where lists of them would take 90 MB."""
    row = ",".join(f"{number / 7:.9g}" for number in range(200))
    large = written(tmp_path, ",".join(f"x{i}" for i in range(200)) + ",y\n" + f"{row},0\n1{row},1\n" * 2500)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    _, samples = data.read(large, "y")
    assert samples.x.shape == (5000, 200) and time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB
