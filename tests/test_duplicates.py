"""Laws of the pure parts behind `curator dedupe`: hashes, evidence, cut-offs, groups, covers, neighbours."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from conftest import photo_pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from curator.duplicates import (
    BITS,
    KINDS,
    TRANSFORMS,
    Sketch,
    Thresholds,
    choose_cut,
    compare_hashes,
    cover,
    examine,
    is_enlarged,
    join,
    judge,
    look_closer,
    tail_cut,
    textured,
    ways_to,
    wilson,
)
from curator.duplicates.laying import turn
from curator.embeddings import normalise
from curator.images import measure
from curator.index import build_graph
from curator.records import DIHEDRAL
from curator.vectors import Neighbours, exact_neighbours, near_hashes

PIECES = [p for p in photo_pieces() if measure(p).sharpness > 0.1]  # the others are out of focus


def compare(a: Image.Image, b: Image.Image) -> str | None:
    distance, transform = compare_hashes(measure(a).hashes[None], measure(b).hashes[None])
    evidence = examine(int(distance[0]), int(transform[0]), Sketch.of(a), Sketch.of(b), Thresholds())
    return judge(evidence, Thresholds())


@pytest.mark.parametrize("name", DIHEDRAL)
def test_a_hash_of_a_turned_picture_is_the_turned_hash(name: str) -> None:
    for piece in PIECES[:4]:
        turned = Image.fromarray(turn(np.asarray(piece), name))
        distance, transform = compare_hashes(measure(turned).hashes[None], measure(piece).hashes[None])
        assert distance[0] <= BITS // 2, "grey levels are rounded when the picture is shrunk"
        assert DIHEDRAL[int(transform[0])] == name


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_is_found_as_its_kind(name: str) -> None:
    rng = np.random.default_rng(3)
    found = [compare(p, TRANSFORMS[name].change(p, rng)) for p in PIECES]
    assert sum(kind is not None for kind in found) >= len(PIECES) - 2, (
        "down to 80 pixels and JPEG 20, one or two are lost"
    )
    exact = {
        "mirror": "mirrored",
        "flip": "mirrored",
        "rotate-90": "rotated",
        "rotate-180": "rotated",
        "jpeg": "re-encoded",
    }
    if name in exact:
        assert set(found) == {exact[name]}


def test_different_pictures_are_no_duplicates() -> None:
    assert [(a, b) for a in range(len(PIECES)) for b in range(a) if compare(PIECES[a], PIECES[b])] == []


def test_another_colour_is_another_picture() -> None:
    """An emoji in two skin tones: same outline, other colour."""
    pixels = np.asarray(PIECES[0]).copy()
    pixels[40:120, 40:120] = (200, 60, 40)
    other = pixels.copy()
    other[40:120, 40:120] = (40, 60, 200)
    assert compare(Image.fromarray(pixels), Image.fromarray(other)) is None


def hand(skin: str, glove: str | None = None, edges: str = "#5c3a21") -> Image.Image:
    """A hand on white, of one colour; with a glove, that is most of it and the skin but a place."""
    drawn = Image.new("RGB", (160, 160), "white")
    pen = ImageDraw.Draw(drawn)
    pen.rounded_rectangle((40, 60, 120, 150), 16, fill=glove or skin, outline=edges, width=3)
    for left in (42, 62, 82, 102):
        pen.rounded_rectangle((left, 12 + abs(left - 75) // 3, left + 16, 90), 8, fill=glove or skin, outline=edges)
    pen.arc((50, 80, 115, 140), 200, 330, fill=edges, width=4)
    if glove:
        pen.rectangle((68, 100, 90, 122), fill=skin)
    return drawn


SKINS = ["#fadcbc", "#e0bb95", "#bf8f68", "#9b643d", "#70534a"]


@pytest.mark.parametrize("glove", [None, "#3366cc"])
@pytest.mark.parametrize("pair", list(itertools.pairwise(SKINS)))
def test_a_neighbouring_skin_tone_is_no_copy(pair: tuple[str, str], glove: str | None) -> None:
    """A change of contrast would explain the colours, yet the white around the hand and the glove stay as they are."""
    one, two = (hand(skin, glove) for skin in pair)
    assert compare(one, two) in (None, "altered")
    assert compare(one, TRANSFORMS["jpeg"].change(one, np.random.default_rng(1))) == "re-encoded"


@pytest.mark.parametrize("brightness", [0.75, 0.9, 1.1, 1.2])
def test_a_photo_in_other_light_is_a_copy(brightness: float) -> None:
    for piece in PIECES:
        assert compare(piece, ImageEnhance.Brightness(piece).enhance(brightness)) == "re-encoded"


@pytest.mark.parametrize("saturation", [0.5, 0.8, 1.3, 1.6])
def test_a_photo_in_stronger_colours_is_a_copy(saturation: float) -> None:
    """Grey things stay as they are then, and yet it is an edit of the whole picture."""
    for piece in PIECES:
        assert compare(piece, ImageEnhance.Color(piece).enhance(saturation)) == "re-encoded"


def test_flat_pictures_have_no_hash_worth_the_name() -> None:
    flat = [measure(Image.new("RGB", (64, 64), c)) for c in ("black", "white", "gray")]
    real = [measure(p) for p in PIECES]
    telling = textured(np.stack([m.hashes for m in flat + real]), np.array([m.entropy for m in flat + real]))
    assert telling.tolist() == [False] * 3 + [True] * len(real)


def test_two_flat_pictures_make_no_edge_by_their_pixels() -> None:
    one, two = (Sketch.of(Image.new("RGB", (64, 64), c)) for c in ("gray", "#818181"))
    assert judge(examine(0, 0, one, two, Thresholds()), Thresholds()) is None


def test_an_enlarged_copy_is_known_and_an_original_is_not() -> None:
    for piece in PIECES:
        small = piece.resize((100, 100), Image.Resampling.LANCZOS)
        assert not is_enlarged(piece, small)
        assert is_enlarged(small.resize((200, 200), Image.Resampling.BICUBIC), small)


pairs_of = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda p: p[0] != p[1]), max_size=40)


@given(pairs_of, st.randoms())
def test_groups_are_a_partition_whatever_the_order(pairs: list[tuple[int, int]], random: object) -> None:
    groups = join(15, pairs, {})
    flat = [m for g in groups for m in g]
    assert len(flat) == len(set(flat))
    assert all(len(g) > 1 for g in groups)
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert join(15, [(b, a) for a, b in shuffled], {}) == groups
    group_of = {m: i for i, g in enumerate(groups) for m in g}
    assert all(group_of[a] == group_of[b] for a, b in pairs)
    for g in groups:
        reach = {g[0]}
        while more := {y for a, b in pairs for x, y in ((a, b), (b, a)) if x in reach} - reach:
            reach |= more
        assert reach == set(g), "connected, so nothing is joined that no edge joins"


@given(pairs_of, st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda p: p[0] != p[1]), max_size=5))
def test_what_was_told_apart_never_shares_a_group(pairs: list[tuple[int, int]], apart: list[tuple[int, int]]) -> None:
    vetoes: dict[int, set[int]] = {}
    for a, b in apart:
        vetoes.setdefault(a, set()).add(b)
        vetoes.setdefault(b, set()).add(a)
    for group in join(15, pairs, vetoes):
        assert not any(b in vetoes.get(a, ()) for a in group for b in group)


@given(pairs_of)
def test_every_member_has_a_way_to_its_keeper_along_edges(pairs: list[tuple[int, int]]) -> None:
    both = {frozenset(p) for p in pairs}
    for group in join(15, pairs, {}):
        keeper = max(group)
        ways = ways_to(keeper, group, pairs)
        assert set(ways) == set(group) - {keeper}
        for member in ways:
            at, steps = member, 0
            while at != keeper:
                assert frozenset((at, ways[at])) in both
                at, steps = ways[at], steps + 1
                assert steps <= len(group)


@given(st.integers(2, 25), st.integers(0, 10_000), st.floats(0.0, 0.8))
def test_a_cover_keeps_nothing_above_the_threshold_and_covers_the_rest(n: int, seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    x = normalise(rng.normal(size=(n, 3)).astype(np.float32))
    scores = x @ x.T
    at = np.argwhere(np.triu(scores >= threshold, 1))
    covered = cover(rng.permutation(n), at, scores[at[:, 0], at[:, 1]], {})
    kept = [i for i in range(n) if i not in covered]
    assert not any(scores[a, b] >= threshold for a in kept for b in kept if a < b)
    for thing, leader in covered.items():
        assert leader in kept
        assert scores[thing, leader] >= threshold


def test_a_cover_prefers_in_the_order_given() -> None:
    pairs, scores = np.array([[0, 1], [1, 2]]), np.array([0.9, 0.95], np.float32)
    assert cover(np.array([1, 0, 2]), pairs, scores, {}) == {0: 1, 2: 1}
    assert cover(np.array([0, 1, 2]), pairs, scores, {}) == {1: 0}
    assert cover(np.array([0, 1, 2]), pairs, scores, {0: {1}, 1: {0}}) == {2: 1}
    assert cover(np.array([0, 1, 2]), pairs, scores, {}, frozenset({0, 1})) == {2: 1}


@given(st.integers(0, 60), st.integers(1, 60))
def test_a_wilson_interval_holds_the_share(found: int, more: int) -> None:
    low, high = wilson(found, found + more)
    assert 0 <= low <= found / (found + more) <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(0, 400))
def test_a_cut_is_the_smallest_that_is_precise_enough(seed: int, positives: int, negatives: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(1, 0.3, positives).round(2), rng.normal(0, 0.3, negatives).round(2)
    cut = choose_cut(positive, negative, least=0.9)

    def bound(threshold: float) -> float:
        right, wrong = int((positive >= threshold).sum()), int((negative >= threshold).sum())
        return wilson(right, right + wrong)[0]

    good = [t for t in sorted(set(positive.tolist())) if bound(t) >= 0.9]
    assert cut.reached == bool(good)
    lowest = good[0] if good else max(sorted(set(positive.tolist())), key=bound)
    assert cut.threshold <= lowest
    assert bound(cut.threshold) == bound(lowest), "nothing labelled lies in the gap"


def test_lossless_duplicates_without_any_other_pair_leave_room_for_lossy_ones() -> None:
    """Mirrored copies agree to the last digit, and no unrelated pair comes near: the cut must not be 1."""
    cut = choose_cut(np.ones(600), np.full(500, -math.inf), floor=0.8)
    assert cut.reached
    assert cut.threshold == pytest.approx(0.9)


def test_without_duplicates_nothing_can_be_chosen() -> None:
    cut = choose_cut(np.array([-math.inf]), np.array([0.5]))
    assert not cut.reached
    assert cut.threshold == math.inf


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200))
def test_a_tail_cut_lies_above_the_median(scores: list[float]) -> None:
    cut = tail_cut(np.array(scores, np.float32))
    assert cut == 0.9999 or len(scores) >= 30, "of a few scores nothing can be told"
    assert cut <= 0.9999
    assert cut >= min(sorted(scores)[len(scores) // 2], 0.9999) - 1e-3


@settings(max_examples=20)
@given(st.integers(2, 120), st.integers(0, 1000), st.integers(1, 5))
def test_neighbours_are_those_of_a_sort(n: int, seed: int, k: int) -> None:
    x = normalise(np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)).astype(np.float16)
    k = min(k, n - 1)
    found, scores = Neighbours(x).nearest(k)
    products = x.astype(np.float64) @ x.astype(np.float64).T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :k], atol=1e-5)
    assert not (found == np.arange(n)[:, None]).any()
    again = exact_neighbours(x, np.arange(n), k)[1]
    np.testing.assert_allclose(again, scores, atol=1e-5)


def clustered(n: int, seed: int, spread: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 20, 16))
    return normalise(
        (centres[rng.integers(0, n // 20, n)] + spread * rng.normal(size=(n, 16))).astype(np.float32)
    ).astype(np.float16)


def test_an_approximate_graph_is_certified_and_probes_more_until_it_is_good() -> None:
    x = clustered(10_000, 0, 1.0)
    graph = build_graph(x, threshold=0.85, exact=100, nprobe=1)
    c = graph.certificate
    assert c.nprobe > 1
    assert c.method.startswith("IVF")
    assert c.recall >= 0.99
    assert c.low <= c.recall <= c.high + 1e-9
    assert c.edges >= 1_000, "of fewer the interval would be wide"
    assert c.high - c.low < 0.01
    exact = build_graph(x, threshold=c.threshold)
    true = {tuple(p) for p in exact.above(c.threshold)[0].tolist()}
    found = {tuple(p) for p in graph.above(c.threshold)[0].tolist()}
    assert len(found & true) / len(true) > 0.98, "what the certificate says of a sample holds of all"
    assert found <= true


def test_a_certificate_of_rare_edges_looks_at_more_nodes_up_to_a_limit() -> None:
    x = clustered(12_000, 0, 1.0)
    few = build_graph(x, threshold=0.97, exact=100).certificate
    assert few.sampled == 8_000 or few.edges >= 1_000
    assert build_graph(x[:2_000], threshold=0.999, exact=100).certificate.sampled == 2_000


def test_a_node_with_many_duplicates_gets_them_all() -> None:
    x = np.concatenate([np.repeat(clustered(100, 1)[:1], 60, axis=0), clustered(400, 2)])
    for exact in (100_000, 50):
        graph = build_graph(x, threshold=0.999, exact=exact)
        pairs = {tuple(p) for p in graph.above(0.999)[0].tolist()}
        assert {(a, b) for b in range(60) for a in range(b)} <= pairs


@given(st.integers(2, 60), st.integers(0, 1000))
def test_near_hashes_are_those_of_a_loop(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**63, 4, np.uint64)
    flips = np.array(
        [sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 12), replace=False)) for _ in range(n)], np.uint64
    )
    hashes = base[rng.integers(0, 4, n)] ^ flips
    turned = np.stack([hashes, hashes[::-1]], axis=1)
    expected = {
        (min(a, b), max(a, b))
        for a in range(n)
        for b in range(n)
        if a != b and min(np.bitwise_count(hashes[b] ^ turned[a])) <= BITS
    }  # fmt: skip
    assert {tuple(p) for p in near_hashes(hashes, turned, BITS).tolist()} == expected


def test_evidence_comes_step_by_step_and_kinds_are_known() -> None:
    one = Sketch.of(PIECES[0])
    first = examine(64, 0, one, Sketch.of(PIECES[1]), Thresholds())
    assert first.laid is None
    assert first.inliers is not None
    assert look_closer(first, one, one).agreement == pytest.approx(1, abs=1e-3)
    assert set(Thresholds().least) < set(KINDS)
    assert all(t.kind in KINDS for t in TRANSFORMS.values())
