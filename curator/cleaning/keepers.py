"""Which image of a group to keep: an ordered list of rules, made total by content and path."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

from curator.duplicates import LEAST_FACTOR, is_enlarged
from curator.errors import PictureError, UsageError
from curator.images import absolute, decode, read_bytes
from curator.records import Image
from curator.registry import Registry

KEEP = ("protected", "real", "labelled", "whole", "largest", "lossless", "oldest", "shortest-path")
_WHOLE = 1 << 20  # an input side so large that no JPEG is decoded at reduced scale
LOSSLESS = {"PNG", "BMP", "DIB", "TIFF", "PPM"}


@dataclass(frozen=True)
class Policy:
    """What the rules look at besides an image.

    `protect` are folders whose images are never proposed for removal; `kept` and `rejected` were decided.
    """

    keep: tuple[str, ...] = KEEP
    protect: tuple[Path, ...] = ()
    kept: Set[int] = frozenset()
    rejected: Set[int] = frozenset()

    def __post_init__(self) -> None:
        for name in self.keep:
            keep_rules[name]

    def is_protected(self, image: Image) -> bool:
        """Whether the image lies in a protected folder."""
        if not self.protect:
            return False
        ways = {image.path, image.path.parent.resolve() / image.path.name}
        return any(
            way.is_relative_to(folder)
            for way in ways
            for protected in self.protect
            for folder in (absolute(protected), protected.resolve())
        )

    def order(
        self, images: Sequence[Image], *, enlarged: Set[int] = frozenset(), parts: Set[int] = frozenset()
    ) -> list[Image]:
        """Best first. Decisions and protection come before the rules; an enlarged copy never counts as the largest.

        `parts` are images cut out of another of them.
        """
        facts = Facts(self, enlarged, parts)

        def key(image: Image) -> tuple[object, ...]:
            decided = (image.id not in self.kept, not self.is_protected(image), image.id in self.rejected)
            return (*decided, *(keep_rules[name](image, facts) for name in self.keep), image.sha256, str(image.path))

        return sorted(images, key=key)

    def reason(self, keeper: int, images: Sequence[Image], *, parts: Set[int] = frozenset()) -> str:
        """Why the keeper comes before the rest of its group: "decided", or the rule that beats the last of them.

        `parts` are images cut out of another of them. "name" where all rules find them the same, and "other rules"
        where these would keep another image.
        """
        best = next(i for i in images if i.id == keeper)
        if keeper in self.kept:
            return "decided"
        others = [i for i in images if i.id != keeper and i.id not in self.rejected]
        if not others:
            return "decided"
        facts = Facts(self, find_enlarged(images) if "largest" in self.keep else frozenset(), parts)
        for name in self.keep:
            value, values = keep_rules[name](best, facts), [keep_rules[name](o, facts) for o in others]
            if min(values) < value:
                return "other rules"
            others = [o for o, v in zip(others, values, strict=True) if v == value]
            if not others:
                return name
        return "name"


@dataclass(frozen=True)
class Facts:
    """What a rule may know of a group besides the image itself."""

    policy: Policy
    enlarged: Set[int]
    parts: Set[int]


Rule = Callable[[Image, Facts], float]
keep_rules: Registry[Rule] = Registry("keep rule")  # smaller is better


@keep_rules.register("protected")
def _protected(image: Image, facts: Facts) -> float:
    return not facts.policy.is_protected(image)


@keep_rules.register("real")
def _real(image: Image, facts: Facts) -> float:
    return image.origin != "real"


@keep_rules.register("labelled")
def _labelled(image: Image, facts: Facts) -> float:
    return image.label is None


@keep_rules.register("captioned")
def _captioned(image: Image, facts: Facts) -> float:
    return image.caption is None


@keep_rules.register("tagged")
def _tagged(image: Image, facts: Facts) -> float:
    return not image.tags


@keep_rules.register("whole")
def _whole(image: Image, facts: Facts) -> float:
    return image.id in facts.parts


@keep_rules.register("largest")
def _largest(image: Image, facts: Facts) -> float:
    return 0.0 if image.id in facts.enlarged else -float(image.width * image.height)


@keep_rules.register("smallest")
def _smallest(image: Image, facts: Facts) -> float:
    return float(image.width * image.height)


@keep_rules.register("lossless")
def _lossless(image: Image, facts: Facts) -> float:
    return image.format not in LOSSLESS


@keep_rules.register("largest-file")
def _largest_file(image: Image, facts: Facts) -> float:
    return -float(image.size)


@keep_rules.register("oldest")
def _oldest(image: Image, facts: Facts) -> float:
    return float(image.mtime_ns)


@keep_rules.register("newest")
def _newest(image: Image, facts: Facts) -> float:
    return -float(image.mtime_ns)


@keep_rules.register("shortest-path")
def _shortest_path(image: Image, facts: Facts) -> float:
    return float(len(str(image.path)))


def find_enlarged(images: Sequence[Image]) -> set[int]:
    """Ids of copies of one picture that are only enlarged from a smaller one of the same shape.

    Files that cannot be read are not.
    """
    if max(i.width * i.height for i in images) < LEAST_FACTOR**2 * min(i.width * i.height for i in images):
        return set()
    read: dict[str, Pillow.Image | None] = {}

    def picture(image: Image) -> Pillow.Image | None:
        if image.sha256 not in read:
            try:
                read[image.sha256] = decode(read_bytes(image.path), side=_WHOLE).picture
            except PictureError:
                read[image.sha256] = None
        return read[image.sha256]

    enlarged: set[int] = set()
    for larger in images:
        for smaller in sorted(images, key=lambda i: (-i.width * i.height, i.sha256)):
            if not _same_shape(larger, smaller) or larger.width < LEAST_FACTOR * smaller.width:
                continue
            one, two = picture(larger), picture(smaller)
            if one is not None and two is not None and is_enlarged(one, two):
                enlarged.add(larger.id)
                break
    return enlarged


def _same_shape(a: Image, b: Image) -> bool:
    return abs(a.width * b.height - b.width * a.height) <= 0.03 * a.width * b.height


def parse_keep(text: str | None) -> tuple[str, ...]:
    """`protected,real,largest` → names of rules. Raises `UnknownName`, or `UsageError` for none."""
    if text is None:
        return KEEP
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"--keep takes rules joined by commas; there are: {', '.join(sorted(keep_rules))}")
    for name in names:
        keep_rules[name]
    return names
