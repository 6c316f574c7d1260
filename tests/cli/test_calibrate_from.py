"""``maquette calibrate --from``: from a folder of results to a calibration that is used."""

from __future__ import annotations

import pytest

from cli.calling import call, succeed
from validate.runs.results import DEPLOYED, TABLE, VLLM, save

ROWS = "a,1,,40,512,64,30,9,0.6\nb,6,,40,512,64,32,10,0.7\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save(folder, points=TABLE + ROWS, closed=VLLM | {"num_prompts": 40, "completed": 40})
    (folder / "deployment.toml").write_text(DEPLOYED)
    (folder / "notes.txt").write_text("ours")
    return folder, succeed("calibrate", "--from", folder, "--out", folder / "mine.toml", "--json")


def test_the_document_tells_runs_and_errors(done):
    folder, called = done
    found = called.document
    assert found["command"] == "calibrate" and found["runs_dir"] == str(folder)
    assert {r["tool"] for r in found["runs"]} == {"table", "vLLM bench serve"}
    assert [s["file"] for s in found["files_skipped"]] == ["notes.txt"]
    (cal,) = found["calibrations"]
    assert (cal["machine"], cal["engine"], cal["conditions"], cal["folds"]) == (
        "h100-sxm", "vllm", 3, 3,
    )  # fmt: skip
    lines = {(e["quantity"], e["statistic"]): e for e in cal["errors"]}
    assert lines["ttft", "mean"]["held_out_n"] == 3
    assert {"before_median_ape_percent", "held_out_coverage_80_share",
            "null_constant_median_ape_percent"} <= lines["ttft", "mean"].keys()  # fmt: skip
    assert cal["before"]["parameters"].keys() == cal["parameters"].keys()


def test_what_is_written_prices_a_simulation(done):
    folder, _ = done
    arguments = ("simulate", "llama-3.1-8b", "--on", "h100", "--engine", "vllm", "--rate", 1,
                 "--input-tokens", 100, "--output-tokens", 10, "--requests", 20, "--draws", 0,
                 "--calibration", folder / "mine.toml", "--json")  # fmt: skip
    assert succeed(*arguments).document["calibration"]["rows"] == 6


@pytest.mark.parametrize(
    "more, part",
    [
        (("--rows", "x"), "--rows and --from: are both given"),
        (("--update",), "--update: has no meaning with --from"),
        (("--on", "nothing"), "unknown machine 'nothing'"),
    ],
)
def test_options_that_make_no_sense(tmp_path, more, part):
    save(tmp_path, closed=VLLM)
    called = call("calibrate", "--from", tmp_path, "--out", tmp_path / "x.toml", *more)
    assert called.code == 2 and part in called.err
    assert not (tmp_path / "x.toml").exists()


def test_options_of_runs_go_with_runs_only(tmp_path):
    called = call("calibrate", "--rows", tmp_path, "--out", tmp_path / "x.toml", "--tp", 2)
    assert called.code == 2 and "--tp: has no meaning with --rows" in called.err
