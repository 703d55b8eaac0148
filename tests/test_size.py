"""Where one machine stops: told once, and before the work."""

from __future__ import annotations

import pytest

from curator.errors import UsageError
from curator.index.size import check_memory, graph_memory, memory_available, memory_of_machine, size_remarks
from curator.job import Job

GIB = 2**30


def test_a_million_is_told_once() -> None:
    (remark,) = size_remarks(999_999, 1_000_000, 512, memory=64 * GIB)
    assert remark.startswith("1,000,000 images: searches read all of them, 40 ms each; past about 5 million")
    assert size_remarks(1_000_000, 1_000_001, 512, memory=64 * GIB) == ()
    assert size_remarks(0, 999_999, 512, memory=64 * GIB) == ()


def test_five_million_and_half_of_the_memory_are_told_each_time() -> None:
    for before in (0, 5_000_000):
        assert "5.1 GB of vectors" in size_remarks(before, 5_000_000, 512, memory=64 * GIB)[0]
    assert "curator push" in size_remarks(2_000_000, 2_100_000, 512, memory=4 * GIB)[0]


def test_work_that_does_not_fit_is_refused_before_it_begins() -> None:
    said: list[str] = []
    job = Job(say=said.append)
    check_memory("dedupe", graph_memory(10_000, 512), job, "…", available=16 * GIB)
    assert said == []
    check_memory("dedupe", graph_memory(1_000_000, 512), job, "…", available=16 * GIB)
    assert said == ["dedupe needs about 3.7 GiB of memory; 16.0 GiB are free."]
    with pytest.raises(UsageError, match=r"about 37\.0 GiB of memory, and 16\.0 GiB are free; use another"):
        check_memory("dedupe", graph_memory(10_000_000, 512), job, "use another", available=16 * GIB)
    assert 0 < memory_available() <= memory_of_machine()
