"""What the scalers ask, answered by Prometheus' own engine: waiting where there is work, and 0 where there is none."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.conftest import kinds

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")

HERE, ELSEWHERE = '{namespace="faces"', '{namespace="other"'
BUCKETS = ("0.5", "1", "+Inf")


def waiting(share_below: dict[str, int], labels: str = HERE) -> list[dict]:
    """Photos by how long they waited, so many a minute below each bound."""
    return [
        {"series": f'anonfaces_queue_seconds_bucket{labels}, le="{bound}"}}', "values": f"0+{share_below[bound]}x10"}
        for bound in BUCKETS
    ]


def inferences(queued_us: int, count: int, labels: str = HERE) -> list[dict]:
    return [
        {"series": f'nv_inference_queue_duration_us{labels}, model="m"}}', "values": f"0+{queued_us}x10"},
        {"series": f'nv_inference_request_success{labels}, model="m"}}', "values": f"0+{count}x10"},
    ]


NOTHING = waiting(dict.fromkeys(BUCKETS, 0)) + inferences(0, 0)
CASES = {
    "none yet": ("town", [], 0),
    "no photo for a while": ("town", NOTHING, 0),
    "all photos wait for a second": ("town", waiting({"0.5": 0, "1": 60, "+Inf": 60}), 0.95),
    "photos of another namespace wait": ("town", NOTHING + waiting({"0.5": 0, "1": 60, "+Inf": 60}, ELSEWHERE), 0),
    "no Triton yet": ("town-triton", [], 0),
    "no inference for a while": ("town-triton", NOTHING, 0),
    "inferences wait for 0.2 s each": ("town-triton", inferences(12_000_000, 60), 0.2),
}


@pytest.mark.parametrize("case", CASES)
def test_scaler_is_told_how_long_work_waits(render, tmp_path: Path, case):
    name, series, expected = CASES[case]
    (scaler,) = (s for s in kinds(render("gpu-large"), "ScaledObject") if s["metadata"]["name"] == name)
    (query,) = (t["metadata"]["query"] for t in scaler["spec"]["triggers"] if t["type"] == "prometheus")
    asked = {"expr": query, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": expected}]}
    test = {"rule_files": [], "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]}
    (tmp_path / "test.yaml").write_text(json.dumps(test))  # which is YAML
    done = subprocess.run([str(PROMTOOL), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
