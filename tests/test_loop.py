"""The loop: what is admitted, and that it goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curator.database import Selections
from curator.index import Index
from curator.loop import _within
from curator.train import home_of
from curator.training.folder import find_run, runs_in

Run = Callable[..., Result]


@given(st.dictionaries(st.integers(0, 99), st.sampled_from("abc")), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)))
def test_no_label_takes_more_than_its_room(vouched: dict[int, str], room: dict[str, int]) -> None:
    fresh = _within(Counter(room), vouched)
    taken = Counter(vouched[i] for i in fresh)
    for label in "abc":
        assert taken[label] == min(room.get(label, 0), sum(v == label for v in vouched.values()))


@pytest.fixture
def begun(tmp_path: Path, curator: Run) -> tuple[object, ...]:
    """320 digits of 8 px in two labels, a classifier of them, and the arguments of a small loop."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for number in np.flatnonzero(found.target < 2)[:320]:
        path = tmp_path / "digits" / str(found.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((found.images[number] * 15.9).astype(np.uint8)).save(path)
    small = ("--side", 8, "--width", 4, "--batch", 8, "--images", 320, "--every", 320)
    for args in (
        ("index", "digits", "-e", "pixels", "--label-from", "folder"),
        ("select", "both", "--where", "label IS NOT NULL", "--dedupe", "none"),
        ("select", "few", "-n", 100, "--dedupe", "none"),
        ("train", "classifier", "--selection", "both", *small),
    ):
        done = curator(*args)
        assert done.exit_code == 0, done.output
    return ("loop", "both", "--classifier", "1", "-n", 20, "--images", 64, "--sure", 0.01, "--rounds", 2, "--json")


def test_a_loop_keeps_real_images_goes_on_where_it_was_and_forgets_only_when_told(begun: tuple[object, ...], curator: Run) -> None:
    assert "too few" in curator("loop", "few", *begun[2:]).output, "calibrated on nothing"
    assert "must vouch" in curator("loop", "both").output
    assert "no selection" in curator("loop", "made-up", *begun[2:]).output
    done = curator(*begun)
    assert done.exit_code == 0, done.output
    first = json.loads(done.stdout)
    assert len(first["rounds"]) >= 1
    for r in first["rounds"]:
        assert r["admitted"] + sum(r["refused"].values()) == r["made"] == 20
        assert r["generated"] <= r["real"]
        assert {"coverage", "recall", "precision", "frechet_distance"} == set(r["numbers"])
        assert all(low <= value <= high for value, low, high in r["numbers"].values())
    with Index.open() as index:
        kept = Selections(index.reader)
        parts = [set(kept.get(f"both-{part}").ids.tolist()) for part in ("train", "admit", "score")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 320
        assert set(kept.get("both-round-1").ids.tolist()) == parts[0], "the first round is on real images alone"
        assert parts[0] <= set(kept.get(first["selection"]).ids.tolist())
        before = [r.name for r in runs_in(home_of(index))]
    assert json.loads(curator(*begun).stdout) == first, "what is done is not done again"
    assert "another loop" in curator(*begun, "--seed", 1).output

    with Index.open() as index:  # as if cut off while the first round trained
        with index.write() as db, db.atomic():
            for name in kept_rounds(index)[1:]:
                Selections(db).drop(name)
        find_run(home_of(index), "2").write_state(status="interrupted")
    again = json.loads(curator(*begun).stdout)
    assert again["rounds"][0] == first["rounds"][0]
    with Index.open() as index:
        assert [r.name for r in runs_in(home_of(index))] == before
    assert curator(*begun, "--seed", 1, "--overwrite").exit_code == 0
    with Index.open() as index:
        assert len(runs_in(home_of(index))) > len(before)


def kept_rounds(index: Index) -> list[str]:
    return sorted(n for n in Selections(index.reader).names() if "-round-" in n)
