"""Trials of every kind for as long as they are given: no traceback, no hang, no loss, no wrong answer.

`scripts/campaign [MINUTES]` runs them. A trial is made from its kind and a seed, so that a fault can be had again:
`scripts/campaign --kind tables --seed 7`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
import pytest
from campaign.trials import TRIALS

MINUTES = float(os.environ.get("CAMPAIGN_MINUTES", "1"))
SEED = os.environ.get("CAMPAIGN_SEED")
FIRST = int(os.environ.get("CAMPAIGN_FIRST", "0"))
TABLE = os.environ.get("CAMPAIGN_TABLE")
_HANG = 120  # seconds after which a trial hangs


@pytest.mark.campaign
@pytest.mark.parametrize("kind", list(TRIALS))
def test_campaign(kind: str, tmp_path: Path) -> None:
    until = time.monotonic() + 60 * MINUTES / len(TRIALS)
    number, faults = FIRST, []
    while True:
        seed = int(SEED) if SEED is not None else number
        place = tmp_path / "trial"
        place.mkdir()
        faulthandler.dump_traceback_later(_HANG, exit=True, file=sys.__stderr__)
        try:
            TRIALS[kind](place, np.random.default_rng([zlib.crc32(kind.encode()), seed]))
        except Exception:  # noqa: BLE001 - every kind of fault is counted, and said below
            faults.append(f"--kind '{kind}' --seed {seed}\n{traceback.format_exc(limit=-6)}")
        finally:
            faulthandler.cancel_dump_traceback_later()
            shutil.rmtree(place, ignore_errors=True)
        number += 1
        if SEED is not None or time.monotonic() > until:
            break
    if TABLE:
        with Path(TABLE).open("a") as out:
            out.write(json.dumps({"kind": kind, "trials": number - FIRST, "faults": len(faults)}) + "\n")
    assert not faults, f"{len(faults)} of {number - FIRST} trials:\n" + "\n".join(faults[:5])
