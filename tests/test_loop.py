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
from curator.errors import UsageError
from curator.index import Index
from curator.job import QUIET
from curator.loop import LoopOptions, Round, loop
from curator.loop.admit import Judging, admit, generated_of, room_of, within
from curator.loop.records import PARTS, SCORE, TRAIN, WATCHED, end_of
from curator.loop.rounds import _begun, _keep
from curator.runs.lookup import generated_ids, home_of
from curator.training.numbered import find_run, runs_in

Run = Callable[..., Result]
SMALL = ("--side", 8, "--width", 8, "--batch", 8, "--images", 1_600, "--every", 1_600)


@given(
    st.dictionaries(st.integers(0, 99), st.sampled_from("abc")),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
)
def test_no_label_takes_more_than_its_room(vouched: dict[int, str], room: dict[str, int]) -> None:
    fresh = within(Counter(room), vouched)
    taken = Counter(vouched[i] for i in fresh)
    for label in "abc":
        assert taken[label] == min(room.get(label, 0), sum(v == label for v in vouched.values()))


def test_what_is_novel_and_surely_of_its_label_is_admitted(
    begun: tuple[object, ...], curator: Run, tmp_path: Path
) -> None:
    """Real digits stand in for generated ones; every other one is said to be what it is not, and some are copies."""
    from sklearn.datasets import load_digits

    assert curator("selections", "split", "both", *(f"{part}={share}" for part, share in PARTS.items())).exit_code == 0
    assert (
        curator("train", "vae", "--selection", f"both-{TRAIN}", *SMALL[:-4], "--images", 64, "--holdout", 0).exit_code
        == 0
    )
    found = load_digits()
    with Index.open() as index:
        train = Selections(index.reader).get(f"both-{TRAIN}")
        copied = [int(i.path.stem) for i in index.images(train.ids[:10])]
    rows = []
    (tmp_path / "made").mkdir()
    for k, number in enumerate([*np.flatnonzero(found.target < 2)[320:360], *copied]):
        Image.fromarray((found.images[number] * 15.9).astype(np.uint8)).save(tmp_path / "made" / f"{k}.png")
        honest = int(k % 2 == 0 or k >= 40)
        facts = {"run": "00002-vae", "honest": honest, "fresh": int(k < 40)}
        rows.append({"file_name": f"{k}.png", "label": str(found.target[number] ^ (1 - honest)), **facts})
    (tmp_path / "made" / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert curator("index", "made", "--origin", "generated").exit_code == 0
    with Index.open() as index:
        judge, run = (find_run(home_of(index), n) for n in "12")
        made = generated_ids(index, run)
        assert len(made) == 50
        taken, refused = admit(index, train, run, made, Judging("both", judge, 0.5))
        honest = set(index.reader.ids_where("honest = 1 AND fresh = 1").tolist())
        assert set(taken) <= honest
        assert len(taken) > 0.6 * len(honest)
        assert refused["copy"] == 10
        assert refused["not sure to be its label"] > 10
        first = _keep(index, "both", train.ids.tolist(), {"of": "", "seed": 0}, [])
        second = _keep(index, "both", [*first.ids.tolist(), *taken], {"of": "", "seed": 0}, rounds(0.5))
        assert generated_of(index, second) == taken, "no real image gives way"
        again = _begun(index, "both", {"of": "", "seed": 0}, overwrite=False, job=QUIET)
        assert (again[0].digest, again[1]) == (second.digest, rounds(0.5))
        whole = room_of(index, train, [])
        room = room_of(index, second, taken)
        assert sum(whole.values()) == len(train)
        assert sum(room.values()) == len(train) - len(taken), "what was admitted takes room and gives none"
        more, beyond = admit(index, second, run, made, Judging("both", judge, 0.5))
        assert (more, beyond["duplicate"]) == ([], len(taken)), "each picture once"
    done = curator("train", "classifier", "--origin", "generated", *SMALL[:-4], "--images", 64, "--every", 64)
    assert done.exit_code == 0, done.output
    assert "generated images" in curator("loop", "both", "--classifier", "3").output


def test_a_round_that_nothing_is_known_of_is_kept_as_json_has_it() -> None:
    (one,) = rounds(float("nan"))
    assert "NaN" not in json.dumps(one.as_json())
    assert Round.from_json(one.as_json()).numbers["coverage"] == pytest.approx((np.nan,) * 3, nan_ok=True)


def rounds(*coverage: float, admitted: int = 1) -> list[Round]:
    return [
        Round(i, "run", 9, 0, 9, admitted, {}, dict.fromkeys(WATCHED, (c, c, c))) for i, c in enumerate(coverage, 1)
    ]


def test_two_falls_of_coverage_end_a_loop_and_so_do_rounds_and_nothing_admitted() -> None:
    assert end_of(rounds(0.5, 0.4, 0.6), 9) == ""
    assert "fell twice" in end_of(rounds(0.5, 0.4, 0.6, 0.5), 9)
    assert "nothing was admitted" in end_of(rounds(0.5, admitted=0), 9)
    assert "2 rounds are done" in end_of(rounds(0.5, 0.6), 2)
    assert end_of([], 1) == ""


@pytest.fixture
def begun(tmp_path: Path, curator: Run) -> tuple[object, ...]:
    """320 digits of 8 px in two labels, a classifier of them, and the arguments of a small loop."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for number in np.flatnonzero(found.target < 2)[:320]:
        path = tmp_path / "digits" / str(found.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((found.images[number] * 15.9).astype(np.uint8)).save(path)
    for args in (
        ("index", "digits", "-e", "pixels", "--label-from", "folder"),
        ("select", "both", "--where", "label IS NOT NULL", "--dedupe", "none"),
        ("select", "few", "-n", 100, "--dedupe", "none"),
        ("train", "classifier", "--selection", "both", *SMALL),
    ):
        done = curator(*args)
        assert done.exit_code == 0, done.output
    return ("loop", "both", "--classifier", "1", "-n", 20, "--sure", 0.01, "--rounds", 2)


GIVEN = {"side": 8, "width": 8, "batch": 16, "images": 640, "every": 640}


def test_a_loop_keeps_real_images_goes_on_where_it_was_and_forgets_only_when_told(
    begun: tuple[object, ...], curator: Run
) -> None:
    assert "the loop takes 267 or more" in curator("loop", "few", *begun[2:]).output
    assert "no text tower" in curator("loop", "both", "--words").output
    for words in ((), ("--words", "--classifier", "1")):
        assert "one of the two" in curator("loop", "both", *words).output
    assert "range x>0" in curator(*begun, "--max-minutes", 0).output
    assert "no selection" in curator("loop", "made-up", *begun[2:]).output
    with Index.open() as index:
        assert len(runs_in(home_of(index))) == 1, "refused before anything is trained"
        options = LoopOptions(2, 20, 0.01, given=GIVEN)
        judge = find_run(home_of(index), "1")
        first = loop(index, "both", judge, options)
        for r in first.rounds:
            assert r.made == 20
            assert r.generated <= r.real
            assert {"coverage", "recall", "precision", "frechet_distance"} == set(r.numbers)
        kept = Selections(index.reader)
        parts = [set(kept.get(f"both-{part}").ids.tolist()) for part in PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 320
        assert set(kept.get("both-round-1").ids.tolist()) == parts[0], "the first round is on real images alone"
        assert parts[0] <= set(kept.get(first.selection).ids.tolist())
        before = [r.name for r in runs_in(home_of(index))]
        again = loop(index, "both", judge, options)
        assert [r.run for r in again.rounds] == [r.run for r in first.rounds], "what is done is not done again"

        with index.write() as db, db.atomic():  # as if cut off while the last round trained
            Selections(db).drop(first.selection)
        find_run(home_of(index), before[-1]).write_state(status="interrupted")
        again = loop(index, "both", judge, options)
        assert [r.admitted for r in again.rounds] == [r.admitted for r in first.rounds]
        assert [r.name for r in runs_in(home_of(index))] == before
    assert "another loop" in curator(*begun).output
    assert curator("report", before[-1]).exit_code == 0
    page = Path("report.html").read_text()
    for told in ("both-loop-score", "closest pairs", "frechet_distance", "label IS NOT NULL"):
        assert told in page, "a loop's run is measured by the loop's own held-out images, and told from its query on"
    with Index.open() as index:
        loop(
            index, "both", judge, LoopOptions(1, 20, 0.01, given=GIVEN | {"images": 320, "every": 320}), overwrite=True
        )
        assert len(runs_in(home_of(index))) == len(before) + 1, "a run of other options is not taken for this one"
    assert curator("selections", "split", "few", f"{TRAIN}=0.5", f"{SCORE}=0.5").exit_code == 0
    with Index.open() as index, pytest.raises(UsageError, match="no loop made"):
        _begun(index, "few", {"of": "", "seed": 0}, overwrite=True, job=QUIET)
    shown = curator(*begun[:2], "--classifier", "1", "-n", 20, "--sure", 0.01, "--images", 320)
    assert "another loop" in shown.output
