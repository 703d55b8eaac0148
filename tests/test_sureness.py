"""How sure hits are: learnt from the index's labels, judged on others, and said only of plain words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.database import Curation
from curator.drawing.scenes import COLOURS, draw_thing
from curator.encoders import Encoder
from curator.errors import UsageError
from curator.index import Index
from curator.index.sureness import WORDS, calibration_gap, curve, read_sureness
from curator.ingest import IngestOptions, ingest
from curator.labelling.label import label_by_probe, label_by_words
from curator.search.query import Question, parse_query, search

SHAPES = ("circle", "square", "star", "heart", "ring", "triangle", "cross", "diamond")


def fill(root: Path, label_of: dict[str, str] | None = None) -> Path:
    """Twenty coloured things of each of eight shapes, in folders of their names."""
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        folder = root / (label_of or {}).get(shape, shape)
        folder.mkdir(parents=True, exist_ok=True)
        for i, colour in enumerate(2 * list(COLOURS)[:10]):
            side = int(rng.integers(30, 60))
            draw_thing(colour, shape, size=side).save(folder / f"{shape}{i}.png")
    return root


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, tiny: Encoder) -> Path:
    """An index of labelled shapes."""
    home = tmp_path_factory.mktemp("shapes")
    with Index.create(home / "index") as index:
        ingest(index, [fill(home / "pictures")], tiny, IngestOptions(label_from="folder"))
    return home / "index"


def test_words_are_sure_where_they_are_right_and_not_where_nothing_is(shapes: Path) -> None:
    with Index.open(shapes) as index:
        learnt = read_sureness(index.reader, index.space)
        assert learnt is not None
        assert (np.diff(learnt.p) >= 0).all()
        there, absent = index.search(text="star", k=10), index.search(text="sunflower", k=10)
        label_of = {i.id: i.label for i in index.images(there.ids)}
        assert label_of[int(there.ids[0])] == "star"
        assert there.confidence[0] > 0.6
        assert there.clear
        assert absent.confidence.max() < 0.5
        assert not absent.clear
        assert (np.diff(there.confidence) <= 0).all()
        sure = search(index, parse_query(["star"]), Question(min_confidence=0.6, k=160))
        assert 10 < len(sure) < 30, "about the twenty that there are"
        assert np.mean([i.label == "star" for i in index.images(sure.ids)]) > 0.6, "as often right as it says"


def test_nothing_is_sure_of_pictures_or_mixtures(shapes: Path) -> None:
    with Index.open(shapes) as index:
        for query in (["id:1"], ["star", "+", "red"], ["id:1", "-", "star"]):
            hits = search(index, parse_query(query), Question())
            assert np.isnan(hits.confidence).all()
            assert np.isfinite(hits.z).all()
        with pytest.raises(UsageError, match="but for plain words"):
            search(index, parse_query(["id:1"]), Question(min_confidence=0.5))


def test_labels_that_the_words_do_not_fit_teach_that_nothing_is_sure(tmp_path: Path, tiny: Encoder) -> None:
    names = ["glove", "river", "seven", "mushroom", "violin", "train", "cloud", "key"]
    with Index.create(tmp_path / "index") as index:
        root = fill(tmp_path / "pictures", dict(zip(SHAPES, names, strict=True)))
        ingest(index, [root], tiny, IngestOptions(label_from="folder"))
        learnt = read_sureness(index.reader, index.space)
        assert learnt is None or index.search(text="violin", k=10).confidence.max() < 0.5


def test_without_labels_nothing_is_learnt_and_labels_that_come_later_teach(tmp_path: Path, tiny: Encoder) -> None:
    with Index.create(tmp_path / "index") as index:
        root = fill(tmp_path / "pictures")
        ingest(index, [root], tiny, IngestOptions())
        assert WORDS not in Curation(index.reader).calibrations(index.space)
        assert np.isnan(index.search(text="star", k=3).confidence).all()
        with pytest.raises(UsageError, match="takes 100 real images of 6 labels, each with 5, and there are 0 of 0"):
            search(index, parse_query(["star"]), Question(min_confidence=0.5))
        unsure = label_by_words(index, ["star", "heart"])
        assert all(np.isnan(sure) for _, sure in unsure.predictions.values())
        ingest(index, [root], tiny, IngestOptions(label_from="folder"))
        assert np.isfinite(index.search(text="star", k=3).confidence).all()
        sure = label_by_words(index, SHAPES)
        said = np.array([share for _, share in sure.predictions.values()])
        assert abs(said.mean() - sure.accuracy) < 0.1, "as often right as it says"


def test_the_curve_is_what_was_counted() -> None:
    """Of hits at z 4 half are right beside a question without an answer: P = 10 / (10 + 2 · 5) of them."""
    z = np.repeat([[4.0, 0.0]], [15], axis=0).reshape(-1, 2)
    right = np.zeros((15, 2), bool)
    right[:10, 0] = True
    knots, p = curve(z, right)
    assert knots.tolist() == [0.125, 4.125]
    assert p[1] == pytest.approx(10.5 / 21)
    assert calibration_gap(knots, p, z, right) < 0.51


def test_a_probe_learns_from_real_pictures_and_is_tested_where_it_labels(tmp_path: Path, tiny: Encoder) -> None:
    with Index.create(tmp_path / "index") as index:
        ingest(index, [fill(tmp_path / "pictures")], tiny, IngestOptions(label_from="folder"))
        made = fill(tmp_path / "made", {s: SHAPES[i - 1] for i, s in enumerate(SHAPES)})
        ingest(index, [made], tiny, IngestOptions(label_from="folder", origin="generated"))
        done = label_by_probe(index, "label", where="label IN ('star', 'heart')")
        assert done.tested == 8, "a fifth of the forty real ones"
        assert done.accuracy > 0.7, "generated ones, all labelled wrong, taught it nothing"
        assert dict(index.reader.breakdown("label")) == dict.fromkeys(SHAPES, 20), "labels of real images alone"
