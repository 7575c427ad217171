"""`avmi mi estimate`: two files in, an estimate in words, JSON and a picture out."""

import json
from pathlib import Path

import numpy as np
import pytest

from avmi.cli import app
from avmi.errors import InputError, UsageError
from avmi.terminal import run
from avmi.workflows.mi_estimate import EstimateResult, mi_estimate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(320, 2))
    y = np.stack([x[:, 0] + 0.5 * generator.normal(size=320), *generator.normal(size=(2, 320))], axis=1)
    np.save(folder / "X.npy", x)
    np.savetxt(folder / "Y.csv", y, delimiter=",", header="a,b,c", comments="")
    (folder / "L.csv").write_text("\n".join(np.where(x[:, 0] > 0, "cat", "dog")), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(files: Path) -> EstimateResult:
    return mi_estimate(files / "X.npy", files / "Y.csv", plot=files / "mi.png")


def test_the_text_says_rows_ceiling_bounds_and_candidates(result: EstimateResult) -> None:
    text = result.as_text()
    assert "lower bound by info_nce, ceiling 4.38 nats" in text
    assert "N = 320 rows: 160 train, 80 validate, 80 held out; columns: X 2, Y 3" in text
    for bound in (
        "info_nce",
        "nwj",
        "interpolated",
        "donsker_varadhan",
        "smile",
        "leave_one_out_upper",
        "club",
    ):
        assert f"\n{bound} " in text
    assert f"chosen on validation rows: {result.found.chosen}" in text
    assert "\nnothing " in text


def test_the_json_holds_the_same(result: EstimateResult) -> None:
    found = result.as_json()
    assert found["value_nats"] == result.found.value_nats
    assert found["kind"] == "lower"
    assert found["interval_nats"][0] < found["value_nats"] < found["interval_nats"][1]
    assert found["rows"] == {"all": 320, "train": 160, "validation": 80, "held_out": 80}
    assert found["bounds"][0]["ceiling_nats"] == pytest.approx(np.log(80))
    assert found["chosen"] in [candidate["name"] for candidate in found["candidates"]]


def test_the_plot_is_a_picture(result: EstimateResult, files: Path) -> None:
    assert result.plot == files / "mi.png"
    assert (files / "mi.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_labels_are_read_as_classes(files: Path) -> None:
    result = mi_estimate(files / "X.npy", files / "L.csv", labels=True, plot=files / "labels.png")
    text = result.as_text()
    assert "lower bound by barber_agakov, ceiling 0.69 nats" in text
    assert "Y class labels" in text
    assert result.found.value_nats > 0.4
    assert "entropy_of_labels         upper" in text


def test_the_command_prints_one_json_object(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["mi", "estimate", str(files / "X.npy"), str(files / "L.csv"), "--labels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bounds"][0]["name"] == "barber_agakov"


def test_a_mistake_is_one_line_and_exit_code_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["mi", "estimate", str(files / "X.npy"), str(files / "L.csv")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "column 1 is text ('cat')" in told[0]


def test_a_plot_that_cannot_be_written_is_told_before_the_work(files: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        mi_estimate(files / "missing.npy", files / "Y.csv", plot=files / "no" / "mi.png")


def test_files_of_different_length_are_told(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.arange(300.0))
    with pytest.raises(InputError, match="X has 320 rows and Y has 300"):
        mi_estimate(files / "X.npy", tmp_path / "short.npy")
