"""`curator dedupe` and what follows it, on real pictures in real folders: kinds, keepers, decisions, quarantine, leaks,
issues."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import photo_pieces
from PIL import Image, ImageFilter

from curator.admin.manage import forget_root, repoint_root
from curator.cleaning.calibrate import FLOOR, calibrate
from curator.cleaning.calibrated import find_thresholds
from curator.cleaning.decisions import accept, decide, proposals, undo
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.issues import checks, find_issues
from curator.cleaning.journal import FOLDER
from curator.cleaning.keepers import keep_rules
from curator.cleaning.leaks import find_leaks, write_fixed
from curator.cleaning.quarantine import quarantine, restore
from curator.cleaning.result import DedupeResult
from curator.database import Curation
from curator.database.curation import rejected_ids
from curator.encoders import PixelEncoder
from curator.errors import UnknownName, UsageError
from curator.images import measure
from curator.index import Index
from curator.ingest import IngestOptions, ingest

Run = Callable[..., Result]


def save_set(root: Path) -> None:
    """Twelve pieces of photos, and six copies of some: one for each verified kind and both identical ones."""
    root.mkdir(parents=True)
    pieces = photo_pieces()
    for number, piece in enumerate(pieces):
        piece.save(root / f"{number:02d}.png")
    (root / "copies").mkdir()
    (root / "copies/file.png").write_bytes((root / "00.png").read_bytes())
    pieces[1].save(root / "copies/pixels.bmp")
    pieces[2].resize((150, 150), Image.Resampling.LANCZOS).save(root / "copies/small.jpg", quality=60)
    pieces[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "copies/mirrored.png")
    pieces[4].transpose(Image.Transpose.ROTATE_90).save(root / "copies/turned.jpg", quality=90)
    pieces[5].crop((12, 6, 190, 184)).save(root / "copies/cropped.png")


KIND_OF = {
    "file.png": "identical-file", "pixels.bmp": "identical-pixels", "small.jpg": "re-encoded",
    "mirrored.png": "mirrored", "turned.jpg": "rotated", "cropped.png": "cropped/edited",
}  # fmt: skip


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "pictures"
    save_set(root)
    return root


@pytest.fixture
def copied(index: Index, tmp_path: Path) -> Index:
    """An index of a set of its own, whose files a test may move."""
    save_set(tmp_path / "pictures")
    ingest(index, [tmp_path / "pictures"], PixelEncoder())
    return index


@pytest.fixture
def shared(index: Index, pictures: Path) -> Index:
    """An index of the set that all tests share."""
    ingest(index, [pictures], PixelEncoder())
    return index


def kinds(index: Index, result: DedupeResult) -> dict[str, str]:
    return {i.path.name: m.kind for g in result.groups for m in g.duplicates for i in index.images([m.image_id])}


def ids_of(index: Index, *names: str) -> list[int]:
    found = {i.path.name: i.id for i in index.images(index.reader.ids_where("1"))}
    return [found[n] for n in names]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_every_kind_is_found_told_apart_and_nothing_else(shared: Index, pictures: Path) -> None:
    before = tree(pictures)
    result = dedupe(shared)
    assert kinds(shared, result) == KIND_OF
    assert {k: n for k, n in result.pairs.items() if n} == dict.fromkeys(KIND_OF.values(), 1)
    assert result.certificate is not None
    assert result.certificate.method == "exact"
    assert tree(pictures) == before, "no file is touched"
    for g in result.groups:
        for m in g.duplicates:
            if m.kind not in ("identical-file", "identical-pixels"):
                assert result.evidence_of(m.image_id, m.via_id) is not None


def test_levels_nest(shared: Index) -> None:
    assert set(kinds(shared, dedupe(shared, DedupeOptions("exact"))).values()) == {"identical-file", "identical-pixels"}
    verified = dedupe(shared)
    semantic = dedupe(shared, DedupeOptions("semantic", threshold=0.9))
    assert kinds(shared, verified).keys() <= kinds(shared, semantic).keys()
    assert "semantic" in kinds(shared, semantic).values()
    assert any("0 pairs of kept images score 0.900 or more" in c for c in semantic.checks)
    removed = {m.image_id for g in semantic.groups for m in g.duplicates}
    kept = [i for i in shared.reader.ids_where("1").tolist() if i not in removed]
    x = shared.reader.vectors(shared.space, kept).astype(np.float64)
    scores = x @ x.T
    assert not (scores[np.triu_indices(len(kept), 1)] >= 0.9).any(), "checked against every product"
    with pytest.raises(UsageError, match="no level 'fuzzy'; there are: exact, verified, semantic"):
        DedupeOptions("fuzzy")


def test_a_second_run_compares_nothing_and_says_the_same(shared: Index) -> None:
    first = dedupe(shared)
    with Index(shared.folder) as again:
        second = dedupe(again)
    assert first.compared > 0
    assert second.compared == 0
    assert second.known == first.compared + first.known
    assert second.groups == first.groups
    assert second.evidence == first.evidence, "what the database keeps is what was seen"


def test_a_lost_or_damaged_graph_costs_time_only(shared: Index) -> None:
    first = dedupe(shared)
    (file,) = (shared.folder / "graph").iterdir()
    file.write_bytes(b"no graph")
    assert dedupe(shared).groups == first.groups
    file.unlink()
    assert dedupe(shared).groups == first.groups


def test_groups_do_not_depend_on_the_order_of_files(pictures: Path, tmp_path: Path) -> None:
    found = []
    for number, order in enumerate((1, -1)):
        with Index.create(tmp_path / str(number)) as index:
            for file in sorted(pictures.rglob("*.*"))[::order]:
                ingest(index, [file], PixelEncoder())
            names = {i.id: i.path.name for i in index.images(index.reader.ids_where("1"))}
            found.append(
                {
                    frozenset(names[m.image_id] for m in g.members) | {names[g.keeper].upper()}
                    for g in dedupe(index).groups
                }
            )
    assert found[0] == found[1]


def test_keep_rules_choose_in_their_order(shared: Index, pictures: Path) -> None:
    def keeper(*rules: str, protect: tuple[Path, ...] = ()) -> str:
        result = dedupe(shared, DedupeOptions(keep=rules, protect=protect))
        (small,) = ids_of(shared, "small.jpg")
        group = next(g for g in result.groups if small in {m.image_id for m in g.members})
        return shared.images([group.keeper])[0].path.name

    assert keeper("largest") == "02.png"
    assert keeper("smallest") == "small.jpg"
    assert keeper("lossless", "smallest") == "02.png"
    assert keeper("protected", "largest", protect=(pictures / "copies",)) == "small.jpg"
    with pytest.raises(UnknownName, match="no keep rule 'larges'; did you mean 'largest'"):
        keeper("larges")


def test_the_order_of_a_policy_is_total(shared: Index) -> None:
    from curator.cleaning.keepers import Policy

    images = shared.images(shared.reader.ids_where("1"))
    for rule in keep_rules:
        one, two = (Policy(keep=(rule,)).order(some) for some in (images, images[::-1]))
        assert [i.id for i in one] == [i.id for i in two]


def test_an_upscale_is_not_kept_for_its_size(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    for number, piece in enumerate(photo_pieces()[3:6]):
        piece.save(root / f"{number}.png")
        piece.resize((500, 500), Image.Resampling.BICUBIC).save(root / f"{number}-large.png")
    ingest(index, [root], PixelEncoder())
    kept = {index.images([g.keeper])[0].path.name for g in dedupe(index).groups}
    assert kept == {"0.png", "1.png", "2.png"}


def test_only_across_roots_or_folders(index: Index, tmp_path: Path) -> None:
    piece = photo_pieces()[0]
    for place in ("a/one.png", "a/two.png", "b/x/three.png", "b/y/four.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        piece.save(tmp_path / place)
    ingest(index, [tmp_path / "a"], PixelEncoder())
    ingest(index, [tmp_path / "b"], PixelEncoder())

    def edges(**options: bool) -> set[frozenset[str]]:
        names = {i.id: i.path.name[:-4] for i in index.images(index.reader.ids_where("1"))}
        members = [m for g in dedupe(index, DedupeOptions(**options)).groups for m in g.duplicates]  # type: ignore[arg-type]
        return {frozenset((names[m.image_id], names[m.via_id])) for m in members}

    assert len(edges()) == 3
    assert all(len(e & {"one", "two"}) == 1 for e in edges(across=True))
    assert frozenset(("one", "two")) not in edges(ignore_same_dir=True)


def test_verdicts_are_never_asked_again(copied: Index, tmp_path: Path) -> None:
    index = copied
    dedupe(index)
    apart, other = ids_of(index, "small.jpg", "02.png")
    keep, rejected = ids_of(index, "mirrored.png", "turned.jpg")
    decide(index, "not-duplicate", [apart, other])
    decide(index, "keep", [keep])
    decide(index, "reject", [rejected])

    def state() -> tuple[dict[str, str], list[bool]]:
        result = dedupe(index)
        settled = [g.settled for i in (keep, rejected) for g in result.groups if i in {m.image_id for m in g.members}]
        return kinds(index, result), settled

    expected = {k: v for k, v in KIND_OF.items() if k not in ("small.jpg", "mirrored.png")} | {"03.png": "mirrored"}
    assert state() == (expected, [False, True])
    root = tmp_path / "pictures"
    (root / "elsewhere").mkdir()
    (root / "copies/small.jpg").rename(root / "elsewhere/renamed.jpg")
    (root / "copies/turned.jpg").rename(root / "elsewhere/turned.jpg")
    ingest(index, [root], PixelEncoder())
    assert state() == (expected, [False, True]), "after a move and a scan"

    class Other(PixelEncoder):
        name, fingerprint = "other", "other"

    ingest(index, [root], Other())
    with index.write() as db, db.atomic():
        db.use_space(db.spaces()[-1])
    assert state() == (expected, [False, True]), "after another encoder"
    assert undo(index, [apart]) == 1
    assert kinds(index, dedupe(index)) == expected | {"renamed.jpg": "re-encoded"}


def test_a_verdict_that_keeps_nothing_is_refused(shared: Index) -> None:
    dedupe(shared)
    with pytest.raises(UsageError, match="would keep none of it"):
        decide(shared, "reject", ids_of(shared, "file.png", "00.png"))
    with pytest.raises(UsageError, match="is in no group"):
        decide(shared, "reject", ids_of(shared, "11.png"))
    with pytest.raises(UsageError, match="two images or more"):
        decide(shared, "not-duplicate", ids_of(shared, "11.png"))
    with pytest.raises(UsageError, match="no kind of duplicate 'copied'"):
        accept(shared, ["copied"])


def test_rejecting_the_keeper_keeps_the_other(shared: Index) -> None:
    dedupe(shared)
    decide(shared, "reject", ids_of(shared, "00.png"))
    assert kinds(shared, dedupe(shared))["00.png"] == "identical-file"


def test_quarantine_and_restore_are_the_identity(copied: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    before, images = tree(root), copied.images(copied.reader.ids_where("1"))
    dedupe(copied)
    assert len(accept(copied)) == 6
    assert accept(copied) == [], "what was decided is not proposed again"
    planned = quarantine(copied, dry_run=True)
    assert tree(root) == before, "a dry run moves nothing"
    report = quarantine(copied)
    assert [m.path for m in report.moves] == [m.path for m in planned.moves]
    assert report.left == ()
    assert len(list(root.glob("*.png"))) == 12
    assert not list((root / "copies").iterdir())
    assert len(copied.reader.ids_where("1")) == 12
    ingest(copied, [root], PixelEncoder())
    assert len(copied.reader.ids_where("1")) == 12, "a scan passes the quarantine over"
    assert quarantine(copied).moves == ()
    assert len(restore(copied).moves) == 6
    assert {k: v for k, v in tree(root).items() if FOLDER not in k} == before
    assert copied.images(copied.reader.ids_where("1")) == images, "ids and all"
    assert restore(copied).moves == ()


def test_quarantine_moves_only_what_it_can_answer_for(copied: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    dedupe(copied)
    accept(copied)
    (root / "copies/small.jpg").write_bytes(b"changed")
    (root / "03.png").unlink()
    target = tmp_path / "elsewhere.png"
    (root / "copies/turned.jpg").rename(target)
    (root / "copies/turned.jpg").symlink_to(target)
    report = quarantine(copied)
    assert {Path(p).name: why.split(" (")[0] for p, why in report.left} == {
        "small.jpg": "the file has changed since it was indexed",
        "mirrored.png": "the image kept in its stead cannot be read: No such file or directory",
        "turned.jpg": "the file is a symbolic link, which only leads to a picture",
    }
    assert len(report.moves) == 3
    with Image.open(root / "copies/mirrored.png") as mirrored:
        mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "03.png")
    with pytest.raises(UsageError, match="would be indexed again"):
        quarantine(copied, to=root / "visible")


def test_restore_overwrites_nothing(copied: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    dedupe(copied)
    accept(copied)
    moved = {Path(m.path).name: m for m in quarantine(copied, to=tmp_path / "aside").moves}
    (root / "copies/small.jpg").write_bytes(b"somebody's")
    Path(moved["turned.jpg"].moved_to).write_bytes(b"tampered")
    report = restore(copied, [Path(moved[n].path) for n in ("small.jpg", "turned.jpg", "file.png")])
    assert [Path(m.path).name for m in report.moves] == ["file.png"]
    assert {Path(p).name for p, _ in report.left} == {"small.jpg", "turned.jpg"}
    assert (root / "copies/small.jpg").read_bytes() == b"somebody's"
    assert "is not in quarantine" in restore(copied, [tmp_path / "never"]).left[0][1]
    assert [
        m.path for m in restore(copied, dry_run=True).moves if "small" not in m.path and "turned" not in m.path
    ] != []


WORK = """
import os, signal, sys
from pathlib import Path
from curator.cleaning.quarantine import quarantine, restore
from curator.index import Index
place, job, stop, count = sys.argv[1:]
seen = 0
def step(name):
    global seen
    seen += name == stop
    if name == stop and seen == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
with Index(Path(place), step=step) as index:
    {"quarantine": quarantine, "restore": restore}[job](index)
"""


@pytest.mark.parametrize(
    ("job", "stop", "count"),
    [("quarantine", s, c) for s in ("move journalled", "file moved", "image marked") for c in (1, 4)]
    + [("restore", s, c) for s in ("file moved back", "image marked back") for c in (1, 4)],
)
def test_a_kill_in_the_middle_loses_no_file(copied: Index, tmp_path: Path, job: str, stop: str, count: int) -> None:
    root = tmp_path / "pictures"
    before, images = tree(root), copied.images(copied.reader.ids_where("1"))
    dedupe(copied)
    accept(copied)
    if job == "restore":
        quarantine(copied)
    killed = subprocess.run(
        [sys.executable, "-c", WORK, copied.folder, job, stop, str(count)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert set(before.values()) <= set(tree(root).values()), "every content is somewhere"
    if job == "quarantine":
        quarantine(copied)
        assert len(list((root / FOLDER).rglob("*.*"))) == 6 + 1, "all of them, and the journal"
        assert len(copied.reader.ids_where("1")) == 12
    restore(copied)
    assert {k: v for k, v in tree(root).items() if FOLDER not in k} == before
    assert copied.images(copied.reader.ids_where("1")) == images


@pytest.mark.parametrize("state", ["both names", "torn journal"])
def test_what_a_power_cut_may_leave_is_mended(copied: Index, tmp_path: Path, state: str) -> None:
    root = tmp_path / "pictures"
    before = tree(root)
    dedupe(copied)
    accept(copied)
    (first, *_) = quarantine(copied).moves
    if state == "both names":
        os.link(first.moved_to, first.path)
    else:
        for journal in (copied.folder / "journal.jsonl", root / FOLDER / "journal.jsonl"):
            journal.write_text(journal.read_text() + '{"home": "/torn')
    quarantine(copied)
    restore(copied)
    assert {k: v for k, v in tree(root).items() if FOLDER not in k} == before


def test_a_link_to_the_quarantined_file_does_not_destroy_it(copied: Index, tmp_path: Path) -> None:
    dedupe(copied)
    accept(copied)
    (move, *_) = quarantine(copied).moves
    Path(move.path).symlink_to(move.moved_to)
    data = Path(move.moved_to).read_bytes()
    assert restore(copied, dry_run=True).moves
    assert Path(move.moved_to).read_bytes() == data
    assert "its place is taken" in dict(restore(copied, [Path(move.path)]).left)[move.path]
    assert Path(move.moved_to).read_bytes() == data


def test_the_only_copy_reached_in_two_ways_stays(index: Index, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for number, piece in enumerate(photo_pieces()[:3]):
        piece.save(tmp_path / "one" / f"{number}.png")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    for root in ("one", "two"):
        ingest(index, [tmp_path / root], PixelEncoder())
    dedupe(index)
    accept(index)
    report = quarantine(index)
    assert report.moves == ()
    assert len(list((tmp_path / "one").glob("*.png"))) == 3


def test_accepting_proposals_overturns_no_verdict(copied: Index) -> None:
    dedupe(copied)
    kept, apart, other = ids_of(copied, "mirrored.png", "small.jpg", "02.png")
    decide(copied, "keep", [kept])
    decide(copied, "not-duplicate", [apart, other])
    accepted = accept(copied)
    assert not {kept, apart, other} & set(accepted)
    assert len(accepted) == 4
    assert not {kept, apart, other} & set(rejected_ids(Curation(copied.reader)))


def test_a_later_verdict_replaces_an_earlier_whatever_the_hashes(copied: Index) -> None:
    dedupe(copied)
    for name, keeper in (
        ("small.jpg", "02.png"),
        ("turned.jpg", "04.png"),
        ("cropped.png", "05.png"),
        ("file.png", "00.png"),
    ):
        a, k = ids_of(copied, name, keeper)
        decide(copied, "reject", [a])
        assert a in rejected_ids(Curation(copied.reader))
        decide(copied, "keep", [a])
        assert a not in rejected_ids(Curation(copied.reader))
        decide(copied, "reject", [a])
        if name != "file.png":
            decide(copied, "not-duplicate", [a, k])
            assert a not in rejected_ids(Curation(copied.reader))
            with pytest.raises(UsageError, match="is in no group"):
                decide(copied, "reject", [a])
    with pytest.raises(UsageError, match="the same to the byte"):
        decide(copied, "not-duplicate", ids_of(copied, "file.png", "00.png"))


def test_no_group_is_rejected_whole_in_two_steps(copied: Index) -> None:
    dedupe(copied)
    decide(copied, "reject", ids_of(copied, "small.jpg"))
    with pytest.raises(UsageError, match="would keep none of its group"):
        decide(copied, "reject", ids_of(copied, "02.png"))


def test_the_last_of_a_group_is_not_proposed_and_the_other_groups_are(copied: Index) -> None:
    dedupe(copied)
    (small,) = ids_of(copied, "small.jpg")
    every = proposals(copied)
    assert small in every
    decide(copied, "reject", ids_of(copied, "02.png"))  # the keeper of small.jpg, which so is the last of its group
    assert accept(copied) == [i for i in every if i != small]


def test_a_proposal_says_nothing_of_a_picture_that_came_later(copied: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    dedupe(copied)
    photo_pieces()[9].resize((180, 180)).save(root / "02.png")  # the keeper of small.jpg is another picture now
    (root / "03.png").unlink()  # and that of mirrored.png is gone
    ingest(copied, [root], PixelEncoder())
    left = copied.images(copied.reader.ids_where("duplicate_of IS NOT NULL"))
    assert not {"small.jpg", "mirrored.png"} & {i.path.name for i in left}
    accept(copied)
    assert not {"small.jpg", "mirrored.png"} & {Path(m.path).name for m in quarantine(copied).moves}


def test_two_files_that_had_one_name_both_come_back(copied: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    dedupe(copied)
    decide(copied, "reject", ids_of(copied, "small.jpg"))
    (first,) = quarantine(copied).moves
    photo_pieces()[2].resize((120, 120)).save(root / "copies/small.jpg", quality=70)
    ingest(copied, [root], PixelEncoder())
    dedupe(copied)
    decide(copied, "reject", ids_of(copied, "small.jpg"))
    (second,) = quarantine(copied).moves
    assert second.moved_to != first.moved_to
    report = restore(copied)
    assert len(report.moves) + len(report.left) == 2, "none is forgotten"


def test_a_moved_root_takes_its_quarantine_along(copied: Index, tmp_path: Path) -> None:
    before = tree(tmp_path / "pictures")
    dedupe(copied)
    accept(copied)
    quarantine(copied)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    repoint_root(copied, str(tmp_path / "pictures"), tmp_path / "elsewhere")
    assert len(restore(copied).moves) == 6
    assert {k: v for k, v in tree(tmp_path / "elsewhere").items() if FOLDER not in k} == before


def test_a_forgotten_root_stays_forgotten(copied: Index, tmp_path: Path) -> None:
    dedupe(copied)
    accept(copied)
    quarantine(copied)
    restore(copied)
    forget_root(copied, str(tmp_path / "pictures"))
    quarantine(copied)
    assert len(copied) == 0


def test_what_a_hash_does_not_see_is_not_called_identical(index: Index, tmp_path: Path) -> None:
    """White shapes on nothing, flattened on white, are all the same white."""
    (tmp_path / "p").mkdir()
    for number in range(3):
        alpha = Image.fromarray((np.random.default_rng(number).uniform(size=(40, 40)) > 0.5).astype(np.uint8) * 255)
        logo = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
        logo.putalpha(alpha)
        logo.save(tmp_path / "p" / f"{number}.png")
    ingest(index, [tmp_path / "p"], PixelEncoder())
    assert dedupe(index, DedupeOptions("exact")).groups == ()


def test_measures_that_come_later_are_looked_at(shared: Index, pictures: Path) -> None:
    with shared.write() as db, db.atomic():
        db.connection.execute("DELETE FROM measures")
    assert "mirrored" not in kinds(shared, dedupe(shared)).values()
    ingest(shared, [pictures], PixelEncoder())
    assert kinds(shared, dedupe(shared)) == KIND_OF


def test_files_that_cannot_be_read_are_said_and_looked_at_again(copied: Index, tmp_path: Path) -> None:
    (tmp_path / "pictures").rename(tmp_path / "away")
    shutil.rmtree(copied.reader.folder / "sketches")  # with what is kept of them, they could be
    result = dedupe(copied)
    assert any("could not be compared" in n for n in result.notes)
    (tmp_path / "away").rename(tmp_path / "pictures")
    assert kinds(copied, dedupe(copied)) == KIND_OF


def test_protection_comes_before_every_rule(copied: Index, tmp_path: Path) -> None:
    for level in ("verified", "semantic"):
        result = dedupe(
            copied, DedupeOptions(level, keep=("largest",), protect=(tmp_path / "pictures/copies",), threshold=0.9)
        )
        protected = {i.id for i in copied.images(copied.reader.ids_where("path LIKE 'copies/%'"))}
        assert not protected & {m.image_id for g in result.groups for m in g.duplicates}
    with pytest.raises(UsageError, match="--protect takes a folder"):
        DedupeOptions(protect=(tmp_path / "none",))


def test_a_part_looked_at_keeps_what_was_found_of_the_rest(copied: Index) -> None:
    dedupe(copied)
    before = copied.reader.ids_where("duplicate_of IS NOT NULL").tolist()
    dedupe(copied, DedupeOptions(where="id < 0 OR path LIKE '11%'"))
    assert copied.reader.ids_where("duplicate_of IS NOT NULL").tolist() == before


def test_leaks_cross_sides_and_can_be_mended(index: Index, tmp_path: Path, fill: object) -> None:
    pieces = photo_pieces()
    root = tmp_path / "sets"
    for side in ("train", "test"):
        (root / side).mkdir(parents=True)
    for number, piece in enumerate(pieces):
        piece.save(root / ("train" if number % 2 else "test") / f"{number}.png")
    pieces[1].save(root / "test/copied.png")
    pieces[2].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "train/mirrored.jpg", quality=95)
    pieces[4].resize((90, 90)).save(root / "test/inside.png")  # a duplicate on one side is no leak
    ingest(index, [root], PixelEncoder())
    dedupe(index)
    proposals = Curation(index.reader).groups()
    found = find_leaks(index, ("train", "test"))
    assert found.by == "folder"
    assert found.sizes == {"train": 7, "test": 8}
    names = {i.id: i.path.name for i in index.images(index.reader.ids_where("1"))}
    leaked = {frozenset(names[i] for i in leak.sides) for leak in found.leaks}
    assert leaked == {frozenset(("1.png", "copied.png")), frozenset(("2.png", "mirrored.jpg"))}
    assert found.leaked == {"train": 2, "test": 2}
    assert Curation(index.reader).groups() == proposals, "what was proposed for the whole index stays"
    for fix in ({"drop_from": "train"}, {"move_to": "train"}):
        assert write_fixed(index, found, tmp_path / "fixed.csv", **fix) == 2
        ingest(index, [root], PixelEncoder(), IngestOptions(table=str(tmp_path / "fixed.csv")))
        again = find_leaks(index, ("train", "test"))
        assert again.by == "split"
        assert again.leaks == ()
    with pytest.raises(UsageError, match="no image has folder 'tset'; did you mean 'test'"):
        find_leaks(index, ("train", "tset"), by="folder")
    with pytest.raises(UsageError, match="two sides"):
        find_leaks(index, ("train", "train"))


def test_issues_are_what_they_are_called(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    sharp = [p for p in photo_pieces() if measure(p).sharpness > 0.15 and measure(p).brightness < 0.85]
    for number in range(30):
        sharp[number % len(sharp)].crop((number, 0, number + 150, 150)).save(root / f"{number}.png")
    odd = {
        "blank": Image.new("RGB", (150, 150), "white"),
        "dark": sharp[0].point(lambda v: v // 12),
        "bright": sharp[0].point(lambda v: 240 + v // 17),
        "blurred": sharp[0].filter(ImageFilter.GaussianBlur(9)),
        "odd-size": sharp[0].resize((20, 20)),
        "odd-shape": sharp[0].crop((0, 0, 200, 40)),
    }
    for name, picture in odd.items():
        picture.save(root / f"{name}.png")
    ingest(index, [root], PixelEncoder())
    found = {f.name: [i.path.stem for i in index.images(list(f.ids))] for f in find_issues(index)}
    assert set(found) == set(odd) == set(checks)
    for name in odd:
        assert found[name][0] == name, "the worst comes first"
        assert not any(n.isdecimal() for n in found[name]), (name, found[name])
    assert [f.name for f in find_issues(index, ["dark"])] == ["dark"]
    assert find_issues(index, ["blank"], where="width < 50")[0].ids == ()
    assert len(index.reader.ids_where("sharpness < 0.05 AND entropy > 1")) >= 1
    with pytest.raises(UsageError, match="no kind of issue 'drak'; did you mean 'dark'"):
        find_issues(index, ["drak"])


def test_calibration_keeps_thresholds_that_dedupe_uses(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    for number, piece in enumerate(photo_pieces(100)):
        piece.save(root / f"{number}.png")
    for number, piece in enumerate(photo_pieces(140)):
        piece.save(root / f"other-{number}.png")
    ingest(index, [root], PixelEncoder())
    with pytest.raises(UsageError, match="too few to calibrate on"):
        calibrate(index)
    rng = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC).save(
            root / f"n{number}.png"
        )
    ingest(index, [root], PixelEncoder())
    found = {c.kind: c for c in calibrate(index, sample=40)}
    assert set(found) == {"re-encoded", "mirrored", "rotated", "cropped/edited", "semantic"}
    used = find_thresholds(Curation(index.reader), index.space)
    for kind, c in found.items():
        assert used.sources[kind] == c.source
        if c.source == "calibrated":
            assert c.cut.low >= 0.99
            assert used.values()[kind] == c.threshold >= (FLOOR if kind != "semantic" else -1)
        else:
            assert not c.cut.reached
    one, two = (calibrate(index, sample=5, seed=3) for _ in range(2))
    assert [(c.kind, c.cut) for c in one] == [(c.kind, c.cut) for c in two], "the same seed, the same thresholds"


def test_measures_are_made_up_for_images_indexed_before(shared: Index, pictures: Path) -> None:
    hashes = Curation(shared.reader).hashes(Curation(shared.reader).nodes(shared.space).contents)
    with shared.write() as db, db.atomic():
        db.connection.execute("DELETE FROM measures")
    assert np.isnan(Curation(shared.reader).hashes(Curation(shared.reader).nodes(shared.space).contents)[1]).all()
    ingest(shared, [pictures], PixelEncoder())
    again = Curation(shared.reader).hashes(Curation(shared.reader).nodes(shared.space).contents)
    np.testing.assert_array_equal(again[0], hashes[0])


def test_the_commands_from_end_to_end(curator: Run, tmp_path: Path) -> None:
    save_set(tmp_path / "pictures")
    before = tree(tmp_path / "pictures")
    assert curator("index", "pictures", "-e", "pixels").exit_code == 0
    done = curator("dedupe", "--sheet", "s.png", "-o", "p.html")
    assert done.exit_code == 1, "there is something to decide"
    assert "6 groups with 6 duplicates among 18 images; 0 decided about." in done.stdout
    assert "every pair was compared" in done.stderr
    assert "not calibrated" in done.stderr
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.height > 400
    page = (tmp_path / "p.html").read_text()
    assert page.count("<img") == 12
    assert "http" not in page.replace("http-equiv", ""), "nothing is fetched"
    facts = json.loads(curator("dedupe", "--json").stdout)
    assert facts["duplicates"]["mirrored"] == 1
    assert facts["certificate"]["method"] == "exact"
    (small,) = [m for g in facts["groups"] for m in g["members"] if m["path"].endswith("small.jpg")]
    assert small["kind"] == "re-encoded"
    assert small["evidence"]["distance"] <= 8
    assert (
        len(json.loads(curator("search", "id:1", "--where", "duplicate_of IS NOT NULL", "-n", "99", "--json").stdout))
        == 6
    )
    chosen = [w for kind in KIND_OF.values() if kind != "rotated" for w in ("--kind", kind)]
    assert "reject: 5 images" in curator("decide", "reject", "--proposed", *chosen).stdout
    assert curator("decide", "not-duplicate", "pictures/04.png", "pictures/copies/turned.jpg").exit_code == 0
    assert len(json.loads(curator("decide", "list", "--json").stdout)) == 6
    assert curator("dedupe").exit_code == 0, "nothing is left to decide"
    dry = curator("quarantine", "--dry-run")
    assert "5 files would be moved." in dry.stdout
    assert tree(tmp_path / "pictures") == before
    assert "5 files moved." in curator("quarantine").stdout
    assert "5 files put back." in curator("restore").stdout
    assert {k: v for k, v in tree(tmp_path / "pictures").items() if FOLDER not in k} == before
    assert curator("decide", "undo", "pictures/copies/small.jpg").stdout == "Forgot 1 verdict.\n"
    assert curator("issues", "--paths").exit_code in (0, 1)
    leaks = curator("leaks", "--between", "copies", "pictures")
    assert leaks.exit_code == 1
    assert "5 groups on more than one side" in leaks.stdout, "a root's own name counts, and the innermost folder"
    assert "no image has folder 'copys'" in curator("leaks", "--between", "copys", "pictures").stderr
    assert "goes with one of" in curator("leaks", "--between", "a", "b", "--fix", "x.csv").stderr
