"""The faults of the other tests, mixed as a seed says, for a minute. `make chaos` takes half an hour."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(480)]

ROOT = Path(__file__).parents[2]
SECONDS, SEED, RATE = 60, 4, 200


def test_a_minute_of_chaos_loses_nothing_and_leaves_nothing_behind(tmp_path, record_property):
    ledger = tmp_path / "ledger.json"
    options = ["--seconds", str(SECONDS), "--seed", str(SEED), "--rate", str(RATE), "--json", str(ledger)]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.chaos", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as run:  # fmt: skip
        try:
            said = run.communicate(timeout=450)[0]
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)  # it ends all that it has started
    assert run.returncode == 0, said
    found = json.loads(ledger.read_text())
    assert found["lost"] == 0
    assert (
        found["answered"] + found["apologised"] + found["dead"] + found["never"] + found["lost_with_master"]
        == found["sent"]
    )
    assert len(found["steps"]) >= 5
    record_property(
        "fault",
        f"chaos, seed {SEED}, {len(found['steps'])} steps in {found['seconds']:.0f} s{'':<12} {found['sent']} sent, "
        f"{found['lost']} lost, {found['lost_with_master']} with {found['masters_killed']} killed masters, "
        f"{found['twice']} twice (of {found['may_be_twice']}), {found['apologised']} apologies {found['reasons']}",
    )
