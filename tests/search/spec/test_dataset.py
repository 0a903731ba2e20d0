"""User data: read whole or refused in one line, kept in the store, searched on and trained on."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from objectives.configuration import Configuration
from search.errors import UsageError
from search.spec import dataset as data
from search.spec import parsing as options
from search.spec.space import Range, preset
from search.spec.study_spec import StudySpec
from tests.support.command import command

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def saved(directory: Path, name: str = "own.npz", **arrays: Any) -> Path:
    """An npz file of these arrays; lists of unequal length become objects, as a person's would."""
    np.savez(directory / name, **arrays)
    return directory / name


@pytest.mark.parametrize(
    ("y", "names", "labels"),
    [
        (Y, ("0", "1"), [0, 1, 0, 1, 0, 1]),
        (np.array([7, -3, 7, -3, 1000, 1000]), ("-3", "7", "1000"), [1, 0, 1, 0, 2, 2]),
        (np.array([2.0, 0.0, 2.0, -1e30, 0.0, -1e30]), (str(int(-1e30)), "0", "2"), [2, 1, 2, 0, 1, 0]),
        (np.array(["oak", "ash", "oak", "Ähre", "ash", "Ähre"]), ("ash", "oak", "Ähre"), [1, 0, 1, 2, 0, 2]),
        (np.array([b"b", b"a"] * 3), ("a", "b"), [1, 0] * 3),
        (np.array([True, False] * 3), ("False", "True"), [1, 0] * 3),
        (Y.astype(np.uint64) + 2**63, (str(2**63), str(2**63 + 1)), [0, 1, 0, 1, 0, 1]),
    ],
)
def test_labels_become_classes_in_sorted_order(
    y: Any, names: tuple[str, ...], labels: list[int], tmp_path: Path
) -> None:
    """Strings and whole numbers, negative or with gaps, whatever their type."""
    reference, samples = data.read(saved(tmp_path, X=X, y=y))
    assert samples.names == names and samples.labels.tolist() == labels
    assert (reference.samples, reference.features, reference.classes) == (6, 2, len(names))
    assert reference.name == "own.npz" and reference.training == samples.training == 6 - len(names)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, ">f8", np.int64, np.uint8, bool])
def test_numbers_of_every_type_become_32_bits(kind: Any, tmp_path: Path) -> None:
    """Also of another byte order, in Fortran's layout, and where an input is constant."""
    x = np.asfortranarray(X.astype(kind))
    x[:, 1] = 1
    _, samples = data.read(saved(tmp_path, X=x, y=Y))
    assert samples.x.dtype == np.float32 and (samples.x == x).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "no `y` in it, only X"),
        ({"y": Y}, "no `X` in it, only y"),
        ({}, "no `X` in it, only nothing"),
        ({"X": np.array([[1.0], [1.0, 2.0]], dtype=object), "y": Y}, "`X` holds objects, so it is ragged"),
        ({"X": X, "y": np.array([1, "a", None] * 2, dtype=object)}, "`y` holds objects"),
        ({"X": X[:, :0], "y": Y}, "`X` is empty"),
        ({"X": X[:0], "y": Y[:0]}, "`X` is empty"),
        ({"X": X.astype(str), "y": Y}, "`X` is of shape (6, 2) and type <U"),
        ({"X": X * 1j, "y": Y}, "type complex128; it must be samples × features"),
        ({"X": X[:, 0], "y": Y}, "`X` is of shape (6,)"),
        ({"X": X[None], "y": Y}, "`X` is of shape (1, 6, 2)"),
        ({"X": np.where(X == 5, np.nan, X), "y": Y}, "`X[2, 1]` is nan"),
        ({"X": np.where(X == 5, -np.inf, X), "y": Y}, "`X[2, 1]` is -inf"),
        ({"X": np.where(X == 5, 1e39, X), "y": Y}, "`X[2, 1]` is 1e+39"),
        ({"X": X, "y": Y[:5]}, "`X` has 6 samples and `y` has 5 labels"),
        ({"X": X, "y": Y[:, None]}, "`y` is of shape (6, 1)"),
        ({"X": X, "y": Y[:0]}, "`y` is empty"),
        ({"X": X, "y": Y * 0 - 4}, "one class only, '-4'"),
        ({"X": X, "y": np.array(list("aabbbc"))}, "class 'c' has one sample only"),
        ({"X": X, "y": Y + 0.5}, "`y[0]` is 0.5"),
        ({"X": X, "y": np.array([0, 1, 0, 1, np.nan, 1])}, "`y[4]` is nan"),
        ({"X": X, "y": Y.astype("datetime64[D]")}, "type datetime64"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The file, the array and what is wrong with it, and no pickle is ever loaded."""
    with pytest.raises(UsageError) as refused:
        data.read(saved(tmp_path, **arrays))
    assert message in str(refused.value) and "own.npz: " in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    """Missing, a directory, text, an array of its own, cut off, damaged, too large for the store."""
    whole = saved(tmp_path, X=np.random.default_rng(1).normal(size=(99, 9)), y=np.arange(99) % 3).read_bytes()
    np.save(tmp_path / "array.npy", X)
    files = {
        "text.npz": (b"x,y\n1,2\n", "not an npz file"),
        "empty.npz": (b"", "it is empty"),
        "array.npz": ((tmp_path / "array.npy").read_bytes(), "not an npz file"),
        "cut.npz": (whole[:-30], "cannot be read"),
        "damaged.npz": (whole[:300] + bytes(50) + whole[350:], "`X` cannot be read"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{name}.*{message}") as refused:
            data.read(tmp_path / name)
        assert "\n" not in str(refused.value)
    for missing, message in ((tmp_path / "none.npz", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"cannot read .*: {message}"):
            data.read(missing)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    """Code that hides in an object array is not run."""

    class Hidden:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = saved(tmp_path, X=np.array([Hidden()], dtype=object), y=Y)
    with pytest.raises(UsageError, match="holds objects"):
        data.read(file)
    assert not (tmp_path / "ran").exists()


def test_too_much_for_the_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data are one value of the database."""
    _, samples = data.read(saved(tmp_path, X=X, y=Y))
    assert len(data.packed(samples)) > 100
    monkeypatch.setattr(data, "MOST_BYTES", 100)
    with pytest.raises(UsageError, match="too large for the store"):
        data.packed(samples)


def test_a_spec_of_data_searches_their_batches(tmp_path: Path) -> None:
    """Classes and inputs are the data's, and batch sizes stand in for the sampling of waves; JSON keeps it all."""
    reference, _ = data.read(saved(tmp_path, X=np.eye(300), y=np.arange(300) % 3))
    spec = StudySpec.of(data=reference)
    assert spec.space["classes"] == options.class_counts("3") and spec.inputs == 300
    assert spec.space["batch_size"] == Range(low=8, high=240, log=True, whole=True)
    assert "batch_sampling" not in spec.space and "batch_size" not in StudySpec.of().space
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    for name in ("question", "answer"):
        spec.check(preset(name, 3, spec.training))
        assert preset(name, 3, spec.training).batch_size == 32
    few, _ = data.read(saved(tmp_path, X=X, y=Y))
    assert StudySpec.of(data=few).space["batch_size"] == Range(low=4, high=4, log=True, whole=True)
    assert preset("question", 2, few.training).batch_size == 4


def test_two_specs_differ_in_their_data_first(tmp_path: Path) -> None:
    """Other data are named by file and digest; the same data under another name are the same."""
    one, _ = data.read(saved(tmp_path, "one.npz", X=X, y=Y))
    copy, _ = data.read(saved(tmp_path, "copy.npz", X=X, y=Y))
    other, _ = data.read(saved(tmp_path, "other.npz", X=-X, y=Y))
    spec = StudySpec.of(data=one)
    assert spec.difference(StudySpec.of(data=copy)) is None
    message = spec.difference(StudySpec.of(data=other)) or ""
    assert message.startswith("`data` one.npz (6 × 2 in 2 classes, ") and "not other.npz (6 × 2" in message
    assert (spec.difference(StudySpec.of()) or "").endswith(", not none")
    assert (StudySpec.of().difference(spec) or "").startswith("`data` none, not one.npz")


def test_waves_and_data_keep_their_own_parameters(tmp_path: Path) -> None:
    """What is of the one is refused with the other."""
    own, _ = data.read(saved(tmp_path, X=X, y=Y))
    for fields in ({"classes": options.class_counts("2")}, {"inputs": 2}, {"sigma": 0.1}):
        with pytest.raises(UsageError, match=f"`--{next(iter(fields))}` is for waves"):
            StudySpec.of(data=own, **fields)  # type: ignore[arg-type]
    for name, value, of in (("batch_sampling", "random", own), ("batch_size", "8", None)):
        with pytest.raises(UsageError, match=f"`{name}` is for"):
            StudySpec.of(space=options.dimensions([f"{name}={value}"], [], []), data=of)
    base = {"classes": 2, "width": 4, "activation": "sine", "optimizer": "sgd", "lr": 0.1}
    for params, of, message in (
        ({"batch_size": 8}, None, "`batch_size` is for data"),
        ({}, own, "lacks `batch_size`"),
        ({"classes": 3, "batch_size": 8}, own, r"`classes` is 3, but own\.npz has 2"),
    ):
        with pytest.raises(UsageError, match=message):
            StudySpec.of(data=of).check(Configuration.of(base | params))


#: A part of the space in which the digits are learned in a second.
QUICK = ["--target", "0.9", "--hold", "1", "--max-epochs", "12", "--range", "width=16:128", "--range", "lr=1e-3:1e-1"]
QUICK += [f"--fix={fixed}" for fixed in ("hidden_layers=1", "activation=relu", "scaling=batch", "gain=1")]
QUICK += ["--choices", "optimizer=adam,adamax", "--workers", "1"]  # with two, what is best depends on who is first


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the digits, and a study of 6 trials on them."""
    directory = tmp_path_factory.mktemp("digits")
    x, y = load_digits(return_X_y=True)
    saved(directory, "digits.npz", X=x, y=np.array([f"digit {label}" for label in y]))
    done = command(directory, "launch", "--data", "digits.npz", *QUICK, "--trials", "6", "--format", "json")
    assert done.returncode == 0, done.stderr
    (directory / "answer.json").write_text(done.stdout)
    return directory


def test_a_study_on_own_data_finds_a_winner(digits: Path) -> None:
    """It converges on fresh splits too, and is shown beside the question's model in batches of 32."""
    answer = json.loads((digits / "answer.json").read_text())
    assert answer["status"]["done"] == 6 and answer["winner"]["confirmed"] and answer["winner"]["classes"] == 10
    assert 8 <= answer["winner"]["params"]["batch_size"] <= 512 and "batch_sampling" not in answer["winner"]["params"]
    assert answer["question"]["params"]["batch_size"] == 32
    assert (
        "The question's model on these data: "
        in command(digits, "launch", "--data", "digits.npz", *QUICK, "--trials", "6").stdout
    )
    assert "batches of" in command(digits, "best").stdout


def test_the_same_data_resume_and_other_data_are_refused(digits: Path) -> None:
    """The file may have moved; what is in it counts."""
    (digits / "moved").mkdir()
    (digits / "moved" / "again.npz").write_bytes((digits / "digits.npz").read_bytes())
    again = command(digits, "launch", "--data", "moved/again.npz", *QUICK, "--trials", "7", "--format", "json")
    assert again.returncode == 0 and json.loads(again.stdout)["status"]["done"] == 7
    saved(digits, "other.npz", X=X, y=Y)
    for given in (["--data", "other.npz"], []):
        refused = command(digits, "launch", *given, *QUICK, "--trials", "7")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "`data` digits.npz (" in refused.stderr


def test_the_best_is_trained_from_the_store_alone(digits: Path, tmp_path: Path) -> None:
    """Without the file; what is saved is all that it takes to tell a digit."""
    storage = ["--storage", f"sqlite:///{digits}/fewest.db"]
    done = command(tmp_path, "train", *storage, "--save", "w.pt", "--format", "json")
    assert json.loads(done.stdout)["converged"], done.stderr
    kept = torch.load(tmp_path / "w.pt")
    (w1, b1, w2, b2), gain = kept["state_dict"].values(), kept["params"]["gain"]
    x, y = load_digits(return_X_y=True)
    hidden = torch.relu((torch.from_numpy(x).float() - kept["low"]) / kept["spread"] * gain @ w1.T + b1)
    told = (hidden @ w2.T + b2).argmax(1).tolist()
    assert np.mean([kept["labels"][label] == f"digit {true}" for label, true in zip(told, y, strict=True)]) > 0.85
    refused = command(tmp_path, "train", *storage, "--inputs", "3")
    assert refused.returncode == 2 and "`--inputs` is for waves" in refused.stderr


def test_a_table_of_the_same_data_resumes_the_same_study(digits: Path) -> None:
    """The labels' column is named, what may surprise is said on stderr, and nothing is searched again."""
    x, y = load_digits(return_X_y=True)
    names = [*(f"pixel {number}" for number in range(64)), "digit"]
    lines = [",".join([*map(str, row), f"digit {label}"]) for row, label in zip(x.tolist(), y.tolist(), strict=True)]
    (digits / "digits.csv").write_text("\n".join([",".join(names), *lines]))
    before = json.loads(command(digits, "status", "--format", "json").stdout)["done"]
    given = ["--data", "digits.csv", "--label", "digit", *QUICK, "--trials", "6", "--format", "json"]
    again = command(digits, "launch", *given)
    assert again.returncode == 0 and json.loads(again.stdout)["status"]["done"] == before
    assert "digits.csv: 3 of 64 features are constant\n" in again.stderr
    trained = command(digits, "train", *given[:4], "--preset", "answer", "--max-epochs", "1", "--format", "json")
    assert json.loads(trained.stdout)["params"]["classes"] == 10 and "3 of 64" in trained.stderr


def test_what_may_surprise_is_said(tmp_path: Path) -> None:
    """Features that are constant, and numbers as labels that do not count from 0; of plain data there is nothing."""
    assert list(data.remarks(data.read(saved(tmp_path, X=X, y=Y))[1])) == []
    x, y = np.column_stack([X, X * 0 + 5]), Y * 10 - 3
    assert list(data.remarks(data.read(saved(tmp_path, X=x, y=y))[1])) == [
        "2 of 4 features are constant",
        "the labels -3, 7 are classes 0 to 1, in this order",
    ]
    with pytest.raises(UsageError, match="every feature is constant, so there is nothing to tell the classes apart"):
        data.read(saved(tmp_path, X=X * 0 + 1, y=Y))


def test_a_preset_is_trained_on_a_file(digits: Path) -> None:
    """It has the classes of the data, and learns them in batches of 32."""
    arguments = ["--preset", "question", "--max-epochs", "2", "--format", "json"]
    done = json.loads(command(digits, "train", "--data", "digits.npz", *arguments).stdout)
    assert (done["params"]["classes"], done["params"]["batch_size"], done["epochs"]) == (10, 32, 2)
