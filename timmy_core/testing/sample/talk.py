"""What is asked and remembered in the sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Final

from timmy_core.router.chat import ChatRequest, ToolCall
from timmy_core.router.options import ChatOptions
from timmy_core.testing.sample import words

if TYPE_CHECKING:
    from timmy_core.timmy import Timmy

Deed = Callable[[], object]

SESSIONS: Final = ("default", "default", "default", "orders", "customers")
_PLAIN: Final = "Done as asked; nothing about it was unclear."
_AT_ASK: Final = 0.45  # of the questions go to the agent, the others are those of programs
_STREAMED: Final = 0.7
_LARGE: Final = 0.12
_CHOSEN: Final = 0.4  # ask one provider alone
PROGRAMS: Final = ("garage", "claude", "claude", "openai")
_CONFIRMED_DAY: Final = 4
_RAISED_DAY: Final = 17
_FORGOTTEN_DAY: Final = 21
_REDACTED_DAY: Final = 24
_INSISTED_DAY: Final = 22
_TIMES: Final = 9


class Talk:
    """Asks, answers and remembers.

    Args:
        random: what chance is.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._answers: dict[str, str] = {}
        self.timmy: Timmy

    def answer(self, request: ChatRequest) -> str | ToolCall:
        """Return what a model says to it, or which tool it wants to have called first."""
        asked = next(message.content for message in reversed(request.messages) if message.role == "user")
        known = next((answer for question, answer in self._answers.items() if question in asked), None)
        if known is not None:
            return known
        for text, done, _, tool in words.TASKS:
            if text.split("{")[0] in asked:
                offered = {each.name for each in request.tools}
                if tool is not None and tool[0] in offered and request.messages[-1].role == "user":
                    return ToolCall("call_1", *tool)
                return done.format(goods="lamps")
        return _PLAIN

    def ask(self) -> None:
        """Ask one question, as a person or as a program."""
        random = self._random
        form, answer = random.choice(words.ASKED)
        chosen = {"place": random.choice(words.PLACES), "goods": random.choice(words.GOODS)}
        question = form.format(**chosen)
        self._answers = {question: answer.format(**chosen)}
        if random.random() < _AT_ASK:
            memory = random.random() < _AT_ASK
            for _ in self.timmy.ask_stream_sync(question, session=random.choice(SESSIONS), memory=memory):
                pass
        else:
            self._as_program(question)
        # Attempts are written behind an answer, which has to be before the clock is moved on.
        self.timmy.store.write(lambda _: None)

    def _as_program(self, question: str) -> None:
        """Ask as programs do: with a long text now and then, for a larger model, or one provider alone."""
        random = self._random
        wanted: ChatOptions = {"model": "large"} if random.random() < _LARGE else {}
        if not wanted and random.random() < _CHOSEN:
            wanted = {"provider": random.choice(PROGRAMS)}
        long = random.choice((0, 0, 0, 1, 4, 12)) * words.DOCUMENT
        messages = [{"role": "user", "content": f"{long}{question}"}]
        agent = random.choice(("echo", "forge", "seer", None))
        if random.random() < _STREAMED:
            for _ in self.timmy.router.stream_sync(messages, agent_id=agent, **wanted):
                pass
        else:
            self.timmy.router.chat_sync(messages, agent_id=agent, **wanted)

    def of_day(self, day: int) -> Iterator[tuple[float, Deed]]:
        """Yield what is remembered and forgotten on a day, with its hour."""
        memory = self.timmy.memory
        if day == 0:
            yield 7.2, lambda: memory.remember(words.DOCUMENT, kind="document", source="import")
        if day < len(words.FACTS):
            text, subject = words.FACTS[day]
            yield 8.1, lambda: memory.remember(text, kind="fact", subject=subject, source="page", speaker="ann")
        if day == _CONFIRMED_DAY:
            text = "Customers like to be told what was not necessary, too."
            yield 18.0, lambda: memory.remember(text, kind="fact", proposed=True, source="agent", agent_id="seer")
        if day == _RAISED_DAY:
            text, subject = words.LATER
            yield 8.4, lambda: memory.remember(text, kind="fact", subject=subject, source="page", speaker="ann")
        if day == _FORGOTTEN_DAY:
            yield 12.0, self._forget
        if day == _REDACTED_DAY:
            yield 12.5, self._redact
        if day == _INSISTED_DAY:
            for number in range(_TIMES):
                yield 11.4 + number / 120, self._insist

    def _insist(self) -> None:
        """Ask a provider that is not well, again and again, as a program without a pause does."""
        messages = [{"role": "user", "content": "Sum up the orders of today."}]
        self.timmy.router.chat_sync(messages, agent_id="seer", provider="garage")
        self.timmy.store.write(lambda _: None)

    def _forget(self) -> None:
        entry = self.timmy.memory.remember("A customer's telephone number was noted here by mistake.", source="page")
        self.timmy.memory.forget(entry.id, reason="it was noted by mistake", by="ann")

    def _redact(self) -> None:
        asked = self.timmy.events.list(type="chat.asked", limit=1)[0]
        self.timmy.events.redact(seq=asked.seq, reason="a customer asked for it", by="ann")
