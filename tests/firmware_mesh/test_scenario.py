"""A mesh that wants things of itself: a small one here; ``python -m benchmarks radio`` runs thirty nodes for an hour."""

from __future__ import annotations

import json

import pytest
from firmware_build import require

from benchmarks.radio.command import main
from benchmarks.radio.scenario import run_hour


def test_a_small_mesh_delivers_within_the_law_and_alike_each_time() -> None:
    require("host")
    surveys = [run_hour(8, seed=5, hours=1 / 3, region="EU868") for _ in range(2)]
    assert surveys[0].log_sha256 == surveys[1].log_sha256
    survey = surveys[0]
    assert survey.breaches == []
    assert survey.findings == []
    assert survey.n_wants == 16
    assert survey.delivery >= 0.9
    assert survey.worst_share < 1


def test_a_script_gets_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    require("host")
    main(["--nodes", "4", "--hours", "0.17", "--seed", "2", "--no-html"])
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] == 2
    assert len(told["nodes"]) == 4
    assert 0 <= told["overhead"] < 1


@pytest.mark.parametrize("arguments", [["--nodes", "1"], ["--hours", "0"], ["--region", "nowhere"], ["--nodes", "many"]])
def test_absurd_wishes_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
