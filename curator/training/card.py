"""A run's model card: what was trained on what, how, and what came of it."""

from __future__ import annotations

from typing import Any

from curator.training.folder import Run
from curator.training.options import Options

_APART = ("images_seen", "seconds", "confusion")  # of a checkpoint's numbers: said elsewhere
_NEXT_TO_NONE = 0.02  # of recall or coverage
_HEALTH = ("logit_gap", "r1", "r2", "r1_over_r2", "kl", "mean_squared_error")


def write_card(run: Run) -> None:
    """Write `card.md` from the run's own files."""
    facts, state = run.facts, run.state
    options = facts["options"]
    metrics, stats = run.rows("metrics.jsonl"), run.rows("stats.jsonl")
    best = next((m for m in metrics if m["images_seen"] == state.get("best")), metrics[-1] if metrics else {})
    judged = "held-out images" if facts["images"]["held_out"] else "images that were trained on, as none are held out"
    lines = [
        f"# {run.name}", "",
        f"A {options['trainer']} (net `{options['net']}`, loss `{options['loss']}`, preset `{options['preset']}`), "
        f"{state['status']} after "
        f"{state['images_seen']} images and {state.get('seconds', 0):.0f} s.", "",
        "## Trained on", "", *_trained_on(facts), "",
        "## Numbers", "", f"Best checkpoint: {state.get('best', 0)} images seen, beside {judged}.", "",
        *_table({k: v for k, v in best.items() if k not in _APART}), "",
        *_confusion(best, facts["shape"]["classes"]),
        *_health(stats, best, run.options), "![Curves](curves.png)", "",
        "## Options", "", *_table(options), "",
        "## Versions", "", *_table(facts["versions"]), "",
    ]  # fmt: skip
    run.write_text("card.md", "\n".join(lines))


def _trained_on(facts: dict[str, Any]) -> list[str]:
    counts = facts["images"]
    said = [
        f"{counts['trained']} images, and {counts['held_out']} held out; `manifest.jsonl` lists ids, SHA-256 and "
        "labels of both.",
        "",
    ]
    known = {k: v for k, v in facts["trained_on"].items() if v}
    if not facts["shape"]["classes"]:
        known.pop("column", None)  # no labels were looked at
    return said + [f"- {k.replace('_', ' ')}: {v}" for k, v in known.items()]


def _confusion(best: dict[str, Any], classes: list[str]) -> list[str]:
    rows = best.get("confusion", [])
    if not rows:
        return []
    head = ["| true \\ predicted | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    return [*head, *(f"| {c} | " + " | ".join(map(str, row)) + " |" for c, row in zip(classes, rows, strict=True)), ""]


def _health(stats: list[dict[str, Any]], best: dict[str, Any], options: Options) -> list[str]:
    """Numbers of the last steps that tell how it goes, and advice; nothing where neither is known."""
    numbers = {k: stats[-1][k] for k in _HEALTH if stats and k in stats[-1]}
    said = [*(_table(numbers) if numbers else []), *([""] if numbers else []), *_advice(best, options)]
    return ["## Health", "", *said] if said else []


def _advice(best: dict[str, Any], options: Options) -> list[str]:
    if options.card_note:
        return [options.card_note, ""]
    if min(best.get("recall", 1.0), best.get("coverage", 1.0)) >= _NEXT_TO_NONE:
        return []
    return [
        "**Collapsed**: recall or coverage is near 0, so it makes few kinds of pictures, or none that look real.",
        "",
    ]


def _table(values: dict[str, Any]) -> list[str]:
    shown = [(k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in values.items() if v not in ((), [], None, "")]
    return (
        ["| | |", "|---|---|", *(f"| {k.replace('_', ' ')} | {v} |" for k, v in shown)] if shown else ["Nothing yet."]
    )
