"""Fit the weights of the ranking: a linear model over what `rank` looks at, judged on conversations it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from figures import table
from locomo import Corpus
from numpy.typing import NDArray

from timmy_core.memory import search as searching
from timmy_core.memory.filters import Filters, scopes_of
from timmy_core.memory.query import parse
from timmy_core.memory.rank import WITH_VECTORS, WORDS_ALONE, Ranking, Weights
from timmy_core.store.stems import Stems

Floats = NDArray[np.float64]
WORDS = ("keyword", "coverage", "about", "length", "question", "answers")
ALL = (*WORDS, "sentence", "window")
STEPS, RATE, SHRINK = 400, 0.05, 1e-3


@dataclass
class Example:
    """The candidates of one question: what each part says of them, and which of them answer it."""

    scope: str
    parts: Floats
    answers: Floats
    evidence: int


def fit(corpus: Corpus) -> list[str]:
    """Return the weights that fit best, and what they reach on each conversation when fitted on the others."""
    lines = []
    for names, shipped in ((WORDS, WORDS_ALONE), *(((ALL, WITH_VECTORS),) if corpus.embedded else ())):
        examples = _examples(corpus, names)
        held, fitted = [], []
        for scope in corpus.entries:
            weights = _train([one for one in examples if one.scope != scope])
            held += [_recall(one, weights) for one in examples if one.scope == scope]
            fitted.append(weights / weights[0])
        whole = _train(examples)
        now = np.array([getattr(shipped, name) for name in names])
        spread = [f"{low:.2f} to {high:.2f}" for low, high in zip(np.min(fitted, 0), np.max(fitted, 0), strict=True)]
        rows = zip(names, (f"{one:.2f}" for one in whole / whole[0]), spread, (f"{one:g}" for one in now), strict=True)
        lines += [
            table(["Part", "fitted on all", "on all but one", "in use"], [list(row) for row in rows]),
            "",
            _reached(held, [_recall(one, now) for one in examples]),
            "",
        ]
    return lines


def _reached(held: Sequence[float], now: Sequence[float]) -> str:
    left_out, in_use = 100 * np.mean(held), 100 * np.mean(now)
    return f"recall@10: {left_out:.1f} % where left out of the fit, {in_use:.1f} % with the weights in use"


def _examples(corpus: Corpus, names: Sequence[str]) -> list[Example]:
    """Ask every question, and let the ranking count one part at a time."""
    stems, found = Stems(), []
    search = corpus.searching(None, words_alone="window" not in names)
    for question in corpus.questions:
        scopes, now = scopes_of([question.scope], None, None), datetime.now(UTC)
        query = parse(question.text, stems)
        vector = corpus.embeddings.embed_query(query.text) if corpus.embeddings and "window" in names else None
        asked = searching._Asked(query, vector, scopes, Filters.of(scopes, valid_at=now), now)
        candidates, hits, _ = search._candidates(asked, searching.CANDIDATES)
        if not candidates:
            continue
        columns = [_scores(candidates, hits, stems, name) for name in names]
        with corpus.store.read() as connection:
            ids = dict(connection.execute("SELECT seq, id FROM memory_entries").fetchall())
        answers = np.array([ids[one.seq] in question.evidence for one in candidates], float)
        found.append(Example(question.scope, np.stack(columns, 1), answers, len(question.evidence)))
    stems.close()
    return found


def _scores(candidates: Any, hits: Any, stems: Stems, name: str) -> Floats:
    nothing = Weights(keyword=0, importance=0)
    ranking = Ranking(candidates, hits.terms, hits.weights, stems, replace(nothing, **{name: 1.0}))
    scores = {one.candidate.seq: one.score for one in ranking.ranked}
    return np.array([scores[one.seq] for one in candidates])


def _recall(example: Example, weights: Floats) -> float:
    order = np.argsort(-(example.parts @ weights), kind="stable")
    return float(example.answers[order[:10]].sum() / example.evidence)


def _train(examples: Sequence[Example]) -> Floats:
    """Return weights that make answers likely among their candidates (softmax), by gradient descent (Adam)."""
    useful = [one for one in examples if one.answers.any()]
    scale = np.concatenate([one.parts for one in useful]).std(0) + 1e-9
    rows = [(one.parts / scale, one.answers / one.answers.sum()) for one in useful]
    weights = first = second = np.zeros(len(scale))
    for step in range(1, STEPS + 1):
        slope = SHRINK * weights
        for parts, wanted in rows:
            likely = np.exp(parts @ weights - (parts @ weights).max())
            slope = slope + parts.T @ (likely / likely.sum() - wanted) / len(rows)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights = weights - RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.asarray(weights / scale)
