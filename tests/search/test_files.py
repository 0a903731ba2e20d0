"""Whatever a file holds, it is read as valid samples or refused in one line: never a traceback, a pickle or a hang."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from search.errors import UsageError
from search.spec import dataset as data

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def refused(path: Path, label: str | None = None) -> str:
    """The one line that refuses a file."""
    with pytest.raises(UsageError) as found:
        data.read(path, label)
    assert len(str(found.value).splitlines()) == 1
    return str(found.value)


def zipped(path: Path, **members: bytes) -> Path:
    """A zip archive of these members, as an npz file is one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: Any) -> bytes:
    """What numpy.save writes."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text: str, version: bytes = b"\2\0") -> bytes:
    """An array's file that says this of itself and holds almost nothing."""
    return (
        b"\x93NUMPY" + version + len(text).to_bytes(4 if version > b"\1\0" else 2, "little") + text.encode() + b"1234"
    )


@pytest.mark.parametrize("shape", ["(1000000000, 100000)", "(1, 9999999999999999999999)"])
def test_what_says_it_needs_more_than_the_memory_is_refused_unread(shape: str, tmp_path: Path) -> None:
    """A kilobyte of zip that unpacks to terabytes is measured by what it unpacks to."""
    bomb = header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}")
    assert "of memory are free" in refused(zipped(tmp_path / "bomb.npz", X=bomb, y=npy(Y)))


@pytest.mark.parametrize("name", ["large.csv", "large.npz"])
def test_a_file_larger_than_memory_is_refused_unread(name: str, tmp_path: Path) -> None:
    """By its size; this one has terabytes of nothing in it."""
    with (tmp_path / name).open("wb") as file:
        file.write(b"PK\3\4" if name == "large.npz" else b"a,b\n")
        file.truncate(1 << 43)
    assert "of memory are free" in refused(tmp_path / name, None if name == "large.npz" else "b")


def test_a_header_that_never_ends_is_refused(tmp_path: Path) -> None:
    """One that says it has gigabytes is not read beyond what a header takes."""
    endless = b"\x93NUMPY\2\0" + (1 << 31).to_bytes(4, "little") + b" " * (1 << 20)
    assert "`X` cannot be read" in refused(zipped(tmp_path / "endless.npz", X=endless, y=npy(Y)))


def test_no_trick_loads_a_pickle(tmp_path: Path) -> None:
    """Objects in an array, in a field of one, in an array without a header, or in a file with another name."""

    class Hidden:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    objects = np.array([Hidden()] * 6, dtype=object)
    field = np.array([(Hidden(), 1)], dtype=[("a", object), ("b", int)])
    said = {
        "objects": (zipped(tmp_path / "a.npz", **{"X.npy": npy(X), "y.npy": npy(objects)}), "`y` holds objects"),
        "field": (zipped(tmp_path / "b.npz", **{"X.npy": npy(field), "y.npy": npy(Y)}), "`X` holds objects"),
        "bare": (zipped(tmp_path / "c.npz", X=pickle.dumps(Hidden()), y=npy(Y)), "`X` is not an array"),
        "nested": (zipped(tmp_path / "d.npz", X=(tmp_path / "a.npz").read_bytes(), y=npy(Y)), "`X` is not an array"),
        "renamed": (tmp_path / "e.npz", "not an npz file"),
        "table": (tmp_path / "f.csv", "neither an npz file nor text"),
        "array": (tmp_path / "g.npy", "neither an npz file nor text"),
    }
    for name in ("e.npz", "f.csv"):
        (tmp_path / name).write_bytes(pickle.dumps([Hidden()]))
    (tmp_path / "g.npy").write_bytes(npy(objects))
    for path, why in said.values():
        assert why in refused(path), path
    assert not (tmp_path / "ran").exists()


def test_names_in_an_archive_are_shown_in_one_line(tmp_path: Path) -> None:
    """Whatever they hold, and not all of thousands."""
    names = {f"x{number}": b"" for number in range(1000)}
    assert "only a, x0, x1" in refused(zipped(tmp_path / "a.npz", a=b"", **names)).replace("\n", "?")
    assert "988 more" in refused(zipped(tmp_path / "b.npz", **names))
    assert r"'X\n\x1b[31m'" in refused(zipped(tmp_path / "c.npz", **{"X\n\x1b[31m": b""}))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device without an end, a directory, a file that is not there or not ours."""
    os.mkfifo(tmp_path / "pipe.npz")
    assert "a device, a pipe or a socket" in refused(tmp_path / "pipe.npz")
    assert "a device, a pipe or a socket" in refused(Path("/dev/zero"))
    assert "Is a directory" in refused(tmp_path)
    (tmp_path / "digits.npz").touch()
    assert f"did you mean {tmp_path}/digits.npz?" in refused(tmp_path / "digit.npz")
    assert refused(tmp_path / "else.csv").endswith("No such file or directory")
    assert refused(tmp_path / "none" / "x.csv").endswith("No such file or directory")
    assert r"'none\nthere.csv'" in refused(Path("none\nthere.csv"))
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic links" in refused(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_is_not_ours_to_read_is_refused(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "own.npz").touch(0o000)
    assert "Permission denied" in refused(tmp_path / "own.npz")


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.array(["1.5", "2", "1.5"] * 2), "the label 1.5 is not a whole number"),
        (np.array(["a", "", "a"] * 2), "a label is empty"),
        (np.array([b"\xff", b"a"] * 3), "text that is not Unicode"),
        (np.frombuffer(b"\xff\xff\xff\xff" * 6, dtype="<U1"), "text that is not Unicode"),
        (np.array(["\ud800", "a"] * 3), "text that is not Unicode"),
    ],
)
def test_labels_that_name_no_class_are_refused(y: Any, said: str, tmp_path: Path) -> None:
    """Numbers that are not whole, though written as text; nothing at all; what is no text."""
    np.savez(tmp_path / "own.npz", X=X, y=y)
    assert said in refused(tmp_path / "own.npz")


ANY_ARRAY = arrays.arrays(
    arrays.scalar_dtypes() | arrays.array_dtypes() | arrays.nested_dtypes(max_leaves=3),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
CELL = st.sampled_from(["1", "2.5", "-3e2", "nan", "", "a", '"a', '"b"', '""', "1_0", "é", "\0", " ", "1e99"])
WRONG_LINE = st.lists(CELL | st.text(max_size=3), max_size=4)
LABEL = st.sampled_from(["a", "b", "7", "8.0", "-1", "1e400", "ä", "9" * 400])
File = tuple[bytes, str, str | None]  # its content, suffix, and the column that is its label


@st.composite
def npz_files(draw: st.DrawFn) -> File:
    """Archives of arrays, most of them valid samples, whole, with bytes changed, or cut off."""
    n, kinds = draw(st.integers(4, 7)), st.sampled_from(["<f4", ">f8", "<f2", "i1", "u8", "?", "g"])
    x = draw(arrays.arrays(kinds, (n, 2), elements=st.integers(0, 1)) | ANY_ARRAY)
    y = st.lists(st.integers(-1, 1) | st.just(0), min_size=n, max_size=n) | st.lists(LABEL, min_size=n, max_size=n)
    file = io.BytesIO()
    draw(st.sampled_from([np.savez, np.savez_compressed]))(file, X=x, y=draw(y.map(np.array) | ANY_ARRAY))
    content = bytearray(file.getvalue())
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=2)):
        content[at] = byte
    end = draw(st.sampled_from([None] * 4 + list(range(0, len(content), 30))))
    return (
        bytes(content[:end]),
        draw(st.sampled_from([".npz", ".npz", ".csv"])),
        draw(st.sampled_from([None, None, "y"])),
    )


@st.composite
def csv_files(draw: st.DrawFn) -> File:
    """Tables, most of them valid, some with a wrong line, in any encoding and with any separators."""
    comma, end = draw(st.sampled_from([",", ";", "\t", "|"])), draw(st.sampled_from(["\n", "\r\n", "\r", "\u2028"]))
    lines = [
        ["0", f"{number}e-3", label] for number, label in enumerate(draw(st.lists(LABEL, max_size=5))) for _ in "12"
    ]
    lines += draw(st.just([]) | st.lists(WRONG_LINE, max_size=1))
    text = end.join(map(comma.join, [["a", "b", "y"], *draw(st.permutations(lines))]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return text.encode(encoding, errors="replace"), ".csv", draw(st.sampled_from(["y", "y", "y", None, "a", "", "\n"]))


ANYTHING = st.tuples(st.binary(max_size=200), st.sampled_from([".npz", ".csv"]), st.sampled_from([None, "y"]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of one test lie, one after the other."""
    return tmp_path_factory.mktemp("any")


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@settings(max_examples=500)
@given(file=npz_files() | csv_files() | ANYTHING)
def test_any_file_is_samples_or_one_line(file: File, place: Path) -> None:
    """Random bytes, archives and tables, damaged or not, under either name, with or without a label."""
    content, suffix, label = file
    path = place / f"any{suffix}"
    path.write_bytes(content)
    try:
        reference, samples = data.read(path, label)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1 and str(error).isprintable()
        return
    n, features = samples.x.shape
    assert (n, features) == (reference.samples, reference.features) and samples.x.dtype == np.float32
    assert np.isfinite(samples.x).all() and (samples.x != samples.x[0]).any()
    counts = np.bincount(samples.labels)
    assert len(counts) == len(samples.names) == len(set(samples.names)) >= 2 and counts.min() >= 2
    assert all(len(said.splitlines()) == 1 for said in data.remarks(samples))
    assert type(samples).unpacked(samples.packed()).digest == samples.digest == reference.digest
