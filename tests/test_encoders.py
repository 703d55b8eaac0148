"""One contract for every encoder, and what stands behind the CLIP ones."""

from __future__ import annotations

import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from curator.drawing.scenes import COLOURS, SHAPES, draw_thing
from curator.embeddings import lengths
from curator.encoders import Encoder, encoders, is_cached, load_encoder, open_space, parse_name
from curator.encoders.clip import cache_folder
from curator.encoders.hub import find_weights
from curator.encoders.preprocess import Preprocess
from curator.encoders.tokenizer import Tokenizer
from curator.errors import EncoderUnavailable, NoTextTower, SpaceMismatch, UnknownName
from curator.ingest import choose_encoder
from curator.records import Space

PICTURES = [draw(i, (40 + i, 60 - i)) for i in range(6)] + [
    Image.new("RGB", (9, 9), c) for c in ("black", "white", "gray")
]


@pytest.fixture(params=sorted(encoders), scope="module")
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load_encoder(request.param)


def test_images_become_unit_rows(encoder: Encoder) -> None:
    x = encoder.encode_images(PICTURES)
    assert (x.shape, x.dtype) == ((len(PICTURES), encoder.dim), np.float32)
    np.testing.assert_allclose(lengths(x), 1, atol=1e-5)


def test_encoding_repeats_and_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    x = encoder.encode_images(PICTURES)
    alone = np.concatenate([encoder.encode_images([p]) for p in PICTURES])
    np.testing.assert_allclose(alone, x, atol=1e-4)
    assert np.array_equal(encoder.encode_images(PICTURES), x)


def test_pictures_are_left_as_they_are_and_told_apart(encoder: Encoder) -> None:
    before = [p.tobytes() for p in PICTURES]
    x = encoder.encode_images(PICTURES)
    assert [p.tobytes() for p in PICTURES] == before
    products = x[:6] @ x[:6].T
    assert (np.argmax(products, 1) == np.arange(6)).all()
    assert np.unique(products.round(3)).size > 6


def test_prepared_pictures_are_square_bytes(encoder: Encoder) -> None:
    for picture in PICTURES:
        prepared = encoder.prepare(picture)
        assert (prepared.shape, prepared.dtype) == ((encoder.side, encoder.side, 3), np.uint8)


def test_words_are_encoded_or_refused_with_the_way_out(encoder: Encoder) -> None:
    if encoder.has_text:
        x = encoder.encode_texts(["red", "blue", ""])
        assert (x.shape, x.dtype) == ((3, encoder.dim), np.float32)
        np.testing.assert_allclose(lengths(x), 1, atol=1e-5)
    else:
        with pytest.raises(NoTextTower, match=r"no text tower.*--encoder"):
            encoder.encode_texts(["red"])


def test_a_space_opens_with_the_encoder_that_made_it(encoder: Encoder) -> None:
    space = Space(1, encoder.name, encoder.fingerprint, encoder.dim, 0, 0, "")
    assert open_space(space).fingerprint == encoder.fingerprint


def test_pixels_can_be_computed_by_eye() -> None:
    x = load_encoder("pixels").project_images(np.full((1, 8, 8, 3), 255, np.uint8))
    assert (x == 127.5).all()


def test_tiny_knows_what_it_was_trained_on(tiny: Encoder) -> None:
    """Every colour × shape: the right words among all 120 are first for most, and never far."""
    things = [(c, s) for c in COLOURS for s in SHAPES]
    pictures = [
        draw_thing(c, s, background="gray" if c in ("white", "black") else "white" if c != "gray" else "black")
        for c, s in things
    ]
    scores = tiny.encode_images(pictures) @ tiny.encode_texts([f"a {c} {s}" for c, s in things]).T
    rank = (scores > np.diag(scores)[:, None]).sum(1)
    assert (rank == 0).mean() >= 0.8
    assert (rank < 10).mean() >= 0.95


def test_small_knows_words_by_their_meaning_and_a_photo_by_its_words() -> None:
    """Words that no caption had lie by their like; what is no word has a place, not a zero."""
    from sklearn.datasets import load_sample_images

    small = load_encoder("small")
    words = ["puppy", "dog", "automobile", "car", "kitten", "cat"]
    w = small.encode_texts(words)
    near = w @ w.T - 2 * np.eye(len(words))
    for a, b in (("puppy", "dog"), ("automobile", "car"), ("kitten", "cat")):
        assert words[int(near[words.index(a)].argmax())] == b
    assert np.linalg.norm(small.project_texts(["zzyqv", "florpish"]), axis=1).min() > 0.1
    temple = Image.fromarray(load_sample_images().images[0])
    scores = small.encode_texts(["a temple", "a car", "a dog", "a plate of food"]) @ small.encode_images([temple])[0]
    assert int(scores.argmax()) == 0


def test_lanes_make_the_vectors_that_one_call_makes(tiny: Encoder) -> None:
    batches = [np.stack([tiny.prepare(draw(8 * i + j)) for j in range(8)]) for i in range(4)]
    with ThreadPoolExecutor(4) as lanes:
        beside = list(lanes.map(tiny.project_in_lane, batches))
    assert all(np.array_equal(a, tiny.project_images(b)) for a, b in zip(beside, batches, strict=True))


def test_tiny_finds_a_picture_again_after_resizing_and_recompression(tiny: Encoder) -> None:
    pictures = [draw_thing(c, s, size=120) for c in COLOURS for s in SHAPES if c != "white"]
    changed = []
    for picture in pictures:
        out = io.BytesIO()
        picture.resize((90, 90)).save(out, "JPEG", quality=40)
        changed.append(Image.open(out))
    found = np.argmax(tiny.encode_images(changed) @ tiny.encode_images(pictures).T, 1)
    assert (found == np.arange(len(pictures))).mean() >= 0.95


ODD = [
    "", " ", "a", "A", "\t\n x \r", "hello world", "Hello, World!!", "don't we've I'm they'll he'd it's THEY'RE",
    "a" * 300, "word " * 200,
    "3.14159 1,000,000 ½ ² Ⅷ", "naïve café Ünïcödé", "日本語のテキスト", "한국어", "русский текст", "مرحبا", "हिन्दी",
    "🐈 😀👍🏽 👨‍👩‍👧",
    "&amp; &lt;b&gt; &amp;amp; &#39;", "schÃ¶n Ã©tÃ©", "“curly” ‘quotes’ … —", "<start_of_text>", "a <end_of_text> b",
    "<|endoftext|>",
    "x\u200by\ufeffz\u00a0w", "e\u0301", "ﬁ ﬂ ﬀ", "\x00\x01\x07", "\x1b[31mred\x1b[0m", "C++ C# .NET",
    "foo_bar-baz/qux@mail.com", "http://a.b/c?d=e&f=g",
    "'S 'T 'RE", "''''", "s's", "!!!???...", "a\u2028b", "ＦＵＬＬ　ＷＩＤＴＨ", "İstanbul ß ſ", "x̂ ȳ", "1st 2nd",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\ud7ff", "ǅ",
]  # fmt: skip


def test_the_tokenizer_equals_open_clips() -> None:
    """On odd strings, on every printable byte in every neighbourhood, and on random mixtures of scripts."""
    from open_clip import SimpleTokenizer

    rng = np.random.default_rng(0)
    alphabet = "".join(ODD) + "abcdefghij '’.,!?-_&;#0123456789éüñçßæøåαβγдж日本語 \t"
    texts = ODD + [bytes([b, c]).decode("latin-1") for b in range(32, 256, 3) for c in (39, 65, 160)]
    texts += ["".join(alphabet[i] for i in rng.integers(0, len(alphabet), rng.integers(1, 60))) for _ in range(300)]
    ours, theirs = Tokenizer(77), SimpleTokenizer(context_length=77)
    for text in texts:
        assert np.array_equal(ours([text])[0], theirs(text)[0].numpy()), repr(text)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("filter_", ["bicubic", "bilinear"])
def test_preprocessing_equals_open_clips(mode: str, filter_: str) -> None:
    from open_clip.transform import image_transform

    mean, std = (0.48, 0.45, 0.4), (0.26, 0.26, 0.27)
    theirs = image_transform(32, False, mean, std, resize_mode=mode, interpolation=filter_)
    ours = Preprocess(32, mean, std, filter_, mode)
    for size in [(32, 32), (64, 48), (31, 77), (100, 33), (20, 20), (33, 32), (1, 50)][
        : 6 if mode == "longest" else None
    ]:
        picture = draw(1, size)
        scaled = (ours(picture) / np.float32(255) - np.float32(mean)) / np.float32(std)
        np.testing.assert_allclose(scaled.transpose(2, 0, 1), theirs(picture).numpy(), atol=1e-5, err_msg=str(size))


def test_a_picture_of_extreme_shape_does_not_fill_the_memory() -> None:
    for mode in ("shortest", "squash", "longest"):
        prepare = Preprocess(224, (0.5,) * 3, (0.5,) * 3, "bicubic", mode)
        for size in ((1, 200_000), (200_000, 1)):
            assert prepare(Image.new("RGB", size, "red")).shape == (224, 224, 3)


SMALL = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"},
}


def save_small(folder: Path, seed: int) -> Path:
    """A CLIP with random weights in open_clip's own folder layout."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    config = SMALL["model_cfg"]
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(SMALL))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def test_a_folder_in_open_clips_layout_gives_open_clips_vectors(tmp_path: Path) -> None:
    import open_clip
    import torch

    folder = save_small(tmp_path / "small", 1)
    ours = load_encoder(str(folder))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        images = model.encode_image(torch.stack([transform(p) for p in PICTURES]), normalize=True).numpy()
        texts = model.encode_text(
            open_clip.get_tokenizer(f"local-dir:{folder}")(["a red cat", "x"]), normalize=True
        ).numpy()
    np.testing.assert_allclose(ours.encode_images(PICTURES), images, atol=1e-4)
    np.testing.assert_allclose(ours.encode_texts(["a red cat", "x"]), texts, atol=1e-4)


def test_torch_and_bf16_agree_with_the_export(tmp_path: Path) -> None:
    folder = save_small(tmp_path / "small", 1)
    x = load_encoder(str(folder)).encode_images(PICTURES)
    for runtime, least in (("torch", 0.9999), ("bf16", 0.99)):
        y = load_encoder(str(folder), runtime=runtime).encode_images(PICTURES)
        assert np.einsum("nd,nd->n", x, y).min() > least


def test_other_weights_are_another_space(tmp_path: Path) -> None:
    one = load_encoder(str(save_small(tmp_path / "small", 1)))
    space = Space(1, one.name, one.fingerprint, one.dim, 0, 0, "")
    two = load_encoder(str(save_small(tmp_path / "small", 2)))
    assert one.fingerprint != two.fingerprint
    assert open_space(space).fingerprint == one.fingerprint, "the cached export still answers"
    with pytest.raises(SpaceMismatch, match="not those the index was made with"):
        open_space(Space(1, one.name, "0" * 64, one.dim, 0, 0, ""))


def test_a_checkpoint_of_a_built_in_model(tmp_path: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt")
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, tmp_path / "checkpoint.safetensors")
    torch.save({"state_dict": state}, tmp_path / "checkpoint.pt")
    with torch.no_grad():
        expected = (
            model.half().float().encode_text(open_clip.get_tokenizer("ViT-S-32-alt")(["a dog"]), normalize=True).numpy()
        )
    for kind in (".safetensors", ".pt"):
        encoder = load_encoder(f"ViT-S-32-alt:{tmp_path / f'checkpoint{kind}'}")
        assert (encoder.dim, encoder.side) == (256, 224)
        assert float((encoder.encode_texts(["a dog"]) @ expected.T).item()) > 0.9999


class Malice:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path(self.mark),)  # type: ignore[return-value]


def test_a_pickle_that_carries_code_is_refused_unrun(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": Malice(str(tmp_path / "mark"))}, tmp_path / "bad.pt")
    with pytest.raises(EncoderUnavailable, match="cannot be loaded"):
        load_encoder(f"ViT-S-32-alt:{tmp_path / 'bad.pt'}")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("tinny", UnknownName, "did you mean 'tiny'"),
        ("ViT-B-32:/no/such.safetensors", EncoderUnavailable, "no checkpoint at"),
        ("NoSuchModel/tag", EncoderUnavailable, "has no model 'NoSuchModel'"),
        ("ViT-B-32/nosuchtag", EncoderUnavailable, "datacomp_xl_s13b_b90k"),
        ("base", EncoderUnavailable, r"cannot be fetched.*--encoder small"),
        ("ViT-B-32/datacomp_xl_s13b_b90k", EncoderUnavailable, r"Offline there are: --encoder small"),
    ],
)
def test_an_encoder_that_is_not_to_be_had_names_the_way_out(name: str, kind: type[Exception], says: str) -> None:
    """The hub is a closed port here, so this runs the real client into a real refusal."""
    with pytest.raises(kind, match=says):
        load_encoder(name)


def test_weights_in_the_hubs_cache_are_found_without_network() -> None:
    assert not is_cached("base")
    repository = Path(os.environ["HF_HOME"]) / "hub" / "models--laion--CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    file = repository / "snapshots" / "abc" / "open_clip_model.safetensors"
    file.write_bytes(b"x")
    try:
        assert is_cached("base")
        assert find_weights(parse_name("ViT-B-32/datacomp_xl_s13b_b90k")) == file
        assert choose_encoder(None, None, ask=None).encoder == "base"
    finally:
        shutil.rmtree(repository)


def test_a_new_index_chooses_its_encoder_in_the_promised_order() -> None:
    """Asked for; the index's own; base if cached; a question on a terminal; else small with a warning."""
    space = Space(1, "pixels", "f", 192, 0, 0, "")
    assert choose_encoder("large", space, ask=None).encoder == "large"
    assert choose_encoder(None, space, ask=None).encoder == "pixels"
    assert choose_encoder(None, None, ask=lambda question: "605 MB" in question).encoder == "base"
    assert choose_encoder(None, None, ask=lambda question: False).encoder == "small"
    silent = choose_encoder(None, None, ask=None)
    assert silent.encoder == "small"
    assert "--encoder base" in silent.warning


@pytest.mark.parametrize("name", ["text.onnx", "image.onnx", "spec.json"])
@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_a_damaged_export_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    """Never a vector from towers that are not those that were checked against torch."""
    folder = save_small(tmp_path / "small", 3)
    encoder = load_encoder(str(folder))
    x, t = encoder.encode_images(PICTURES), encoder.encode_texts(["x"])
    file = cache_folder() / encoder.fingerprint / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 64
    file.unlink() if damage == "gone" else file.write_bytes(data)
    again = load_encoder(str(folder))
    assert np.array_equal(again.encode_images(PICTURES), x)
    assert np.array_equal(again.encode_texts(["x"]), t)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = save_small(tmp_path / "small", 1)
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(EncoderUnavailable, match="cannot be loaded"):
        load_encoder(str(folder))
