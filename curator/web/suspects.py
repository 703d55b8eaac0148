"""What takes a look at all pictures: duplicates found anew, what other rules would keep, listed pairs, leaks."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.keepers import KEEP, keep_rules
from curator.cleaning.leaks import Leaks, find_leaks
from curator.cleaning.result import DedupeResult
from curator.database import Curation
from curator.duplicates import LISTED
from curator.errors import UsageError
from curator.index import Index
from curator.job import Job
from curator.web.body import Body, text_of, texts_in
from curator.web.jobs import Tasks

_PAIRS, _GROUPS = 200, 30  # shown


class Suspects:
    """Looks for duplicates and leaks of one index, in the background; what they found last is remembered."""

    def __init__(self, index: Index, tasks: Tasks) -> None:
        self.index, self.tasks = index, tasks

    def look(self, body: Body) -> Any:
        """Find duplicates anew by the rules in `keep`, and store the groups; with `dry_run` nothing is stored."""
        keep = tuple(texts_in(body, "keep")) if body.get("keep") else KEEP
        level, is_dry = text_of(body, "level") or "verified", bool(body.get("dry_run"))
        options = DedupeOptions(level, keep)
        for rule in keep:
            _ = keep_rules[rule]

        def run(job: Job) -> tuple[DedupeResult, dict[int, int]]:
            before = _keeper_of(self.index)
            return dedupe(self.index, options, keep_proposals=not is_dry, job=job), before

        words = f"{'what would be kept by' if is_dry else 'duplicates by'} {', '.join(keep)}"
        return self.tasks.start("rules" if is_dry else "dedupe", words, run).describe()

    def rules(self, _: Mapping[str, str]) -> Any:
        """Of the last dry run: how many groups would keep another image, with examples; and which rules there are."""
        task = self.tasks.latest("rules")
        answer: dict[str, Any] = {"rules": list(keep_rules), "default": list(KEEP), "task": task and task.describe()}
        last = task.answer if task is not None and task.state == "done" else None
        if last is not None:
            result, before = last
            changed = [g for g in result.groups if before.get(g.keeper, g.keeper) != g.keeper]
            answer |= {
                "groups": len(result.groups),
                "changed": len(changed),
                "examples": [
                    {"before": before[g.keeper], "after": g.keeper, "ids": [m.image_id for m in g.members]}
                    for g in changed[:_GROUPS]
                ],
            }
        return answer

    def listed(self, _: Mapping[str, str]) -> Any:
        """Of the last look: pairs that are nearly the same picture and not proposed, by kind."""
        looks = [t for name in ("dedupe", "rules") if (t := self.tasks.latest(name)) is not None]
        task = max(looks, key=lambda t: t.number, default=None)
        last = task.answer if task is not None and task.state == "done" else None
        if task is None or last is None:
            return {"task": task and task.describe(), "kinds": []}
        pairs = last[0].listed
        counted = Counter(p.kind for p in pairs)
        order = [*LISTED, *sorted(counted.keys() - set(LISTED))]
        kinds = [
            {
                "kind": kind, "pairs": counted[kind],
                "first": [
                    {"first": p.first, "second": p.second, "labels_differ": p.labels_differ}
                    for p in [p for p in pairs if p.kind == kind][:_PAIRS]
                ],
            }
            for kind in order if counted[kind]
        ]  # fmt: skip
        return {"task": task.describe(), "kinds": kinds}

    def find_leaks(self, body: Body) -> Any:
        """Look for pictures on both of two sides: values of a column, folders or selections."""
        between = texts_in(body, "between")
        if len(between) != 2:
            raise UsageError("leaks are between two sides, such as train and test")
        words = f"leaks between {' and '.join(between)}"
        return self.tasks.start("leaks", words, lambda job: find_leaks(self.index, between, job=job)).describe()

    def leaks(self, _: Mapping[str, str]) -> Any:
        """Those found last: each group with the side of every image."""
        task = self.tasks.latest("leaks")
        result: Leaks | None = task.answer if task is not None and task.state == "done" else None
        if task is None or result is None:
            return {"task": task and task.describe(), "leaks": []}
        groups = [
            [{"id": i, "side": side} for i, side in sorted(leak.sides.items(), key=lambda pair: (pair[1], pair[0]))]
            for leak in result.leaks[:_PAIRS]
        ]
        command = shlex.join(["curator", "leaks", *result.sizes, "--by", result.by])
        facts = {
            "by": result.by,
            "between": list(result.sizes),
            "command": command,
            "sizes": dict(result.sizes),
            "leaked": dict(result.leaked),
        }
        return {"task": task.describe(), "leaks": groups, "groups": len(result.leaks)} | facts


def _keeper_of(index: Index) -> dict[int, int]:
    """Image id → the one that its group keeps, as stored."""
    return {g.image_id: g.keeper_id for g in Curation(index.reader).groups()}
