"""Who is in the swarm: registering, leaving, and the tokens with which agents come over the API."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from typing import Final

from timmy_core.errors import AgentTokenError, SwarmError
from timmy_core.settings_swarm import PERSONAS
from timmy_core.store.engine import Connection
from timmy_core.swarm.auction import Auctions
from timmy_core.swarm.model import HELD, AgentInfo, AgentKind, Agents, Wallet
from timmy_core.swarm.rows import Rows

TOKEN_PREFIX: Final = "tma_"  # noqa: S105 - how a token begins
MAX_AGENTS: Final = 1000
MAX_CAPABILITIES: Final = 50
MAX_DESCRIPTION: Final = 500
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_\-]{0,39}")
_CAPABILITY: Final = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,39}")
_KINDS: Final = ("local", "persona", "remote")
_WALLETS: Final = ("home", "own")
_INSERT: Final = """
INSERT INTO swarm_agents (name, kind, capabilities, description, wallet, status, joined_at, seen_at, changed_at)
VALUES (?, ?, ?, ?, ?, 'idle', ?, ?, ?)"""
_AGAIN: Final = """
UPDATE swarm_agents SET capabilities = ?, description = ?, wallet = ?, status = 'idle', joined_at = ?, seen_at = ?,
    changed_at = ?
WHERE name = ?"""


def check_capabilities(given: Sequence[str], word: str = "capabilities") -> tuple[str, ...]:
    """Return capabilities, each once.

    Raises:
        SwarmError: one cannot be one.
    """
    if isinstance(given, str):
        message = f"{word} is a text; give a list of words, such as ['text', 'code']"
        raise SwarmError(message)
    found = tuple(dict.fromkeys(given))
    wrong = next((one for one in found if not isinstance(one, str) or not _CAPABILITY.fullmatch(one)), None)
    if wrong is not None or len(found) > MAX_CAPABILITIES:
        message = (
            f"{word} holds {str(wrong)[:40]!r}; expected up to {MAX_CAPABILITIES} words of a-z, 0-9, '_', '.', '-'"
        )
        raise SwarmError(message)
    return found


class Roster:
    """The agents of a home; safe to use from any thread and process.

    Args:
        rows: the tables.
        auctions: finds somebody else for what a leaving agent holds.
        own_name: the name of the home's own agent, which nobody else may have.
    """

    def __init__(self, rows: Rows, auctions: Auctions, own_name: str) -> None:
        self._rows = rows
        self._auctions = auctions
        self._own_name = own_name

    def register(
        self, name: str, *, kind: AgentKind, capabilities: Sequence[str], description: str, wallet: Wallet
    ) -> AgentInfo:
        """Let an agent join, or join again; the same again changes nothing.

        Raises:
            SwarmError: the name is taken or cannot be one, or something else about it is wrong.
        """
        self._check(name, kind, wallet, description)
        able = check_capabilities(capabilities)

        def run(connection: Connection) -> AgentInfo:
            known = self._rows.agents(connection, "name = ?", (name,))
            before = known[0] if known else None
            if before is not None and before.kind != kind:
                message = f"{name} is a {before.kind} agent already; choose another name"
                raise SwarmError(message)
            same = before is not None and (before.capabilities, before.description, before.wallet) == (
                able, description, wallet,
            )  # fmt: skip
            if before is not None and same and before.status != "left":
                self._rows.see(connection, name)
                return self._rows.agent(connection, name)
            now = self._rows.now_us()
            if before is None:
                self._check_room(connection)
                connection.execute(_INSERT, (name, kind, json.dumps(able), description, wallet, now, now, now))
            else:
                connection.execute(_AGAIN, (json.dumps(able), description, wallet, now, now, now, name))
                self._rows.settle(connection, name, "it registered anew")
            data = {"kind": kind, "capabilities": list(able), "wallet": wallet, "again": before is not None}
            self._rows.tell(connection, "agent.joined", data, agent_id=name)
            return self._rows.agent(connection, name)

        return self._rows.store.write(run)

    def _check(self, name: str, kind: str, wallet: str, description: str) -> None:
        problem = ""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = "an agent's name has 1 to 40 of a-z, 0-9, '_', '-', and begins with a letter or digit"
        elif name == self._own_name:
            problem = f"{name} is the name of this home's own agent; choose another"
        elif name in PERSONAS and kind != "persona":
            problem = f"{name} is the name of a persona of the home; choose another"
        elif kind not in _KINDS or wallet not in _WALLETS:
            problem = f"kind {kind!r} with wallet {wallet!r} is not known; expected {_KINDS} and {_WALLETS}"
        elif len(description) > MAX_DESCRIPTION or not description.replace("\n", " ").isprintable():
            problem = f"description has to be at most {MAX_DESCRIPTION} printable characters"
        if problem:
            raise SwarmError(problem)

    @staticmethod
    def _check_room(connection: Connection) -> None:
        if connection.execute("SELECT count(*) FROM swarm_agents").fetchone()[0] >= MAX_AGENTS:
            message = f"there are {MAX_AGENTS:,} agents already; take one of those that left up again"
            raise SwarmError(message)

    def leave(self, name: str, *, reason: str) -> AgentInfo:
        """Let an agent go: its bids count no more, what it holds is given to somebody else, its token is void.

        Raises:
            AgentUnknownError: there is none of that name.
        """

        def run(connection: Connection) -> AgentInfo:
            before = self._rows.agent(connection, name)
            if before.status == "left":
                return before
            now = self._rows.now_us()
            query = "UPDATE swarm_agents SET status = 'left', token_hash = NULL, token_at = NULL, changed_at = ? "
            connection.execute(f"{query} WHERE name = ?", (now, name))
            self._rows.tell(connection, "agent.left", {"reason": reason[:MAX_DESCRIPTION]}, agent_id=name)
            marks = ", ".join("?" * len(HELD))
            held = f"WHERE agent = ? AND state IN ({marks}) ORDER BY seq LIMIT 1000"
            for task in self._rows.tasks(connection, held, (name, *HELD)):
                self._auctions.pass_on(connection, task, f"{name} left")
            return self._rows.agent(connection, name)

        return self._rows.store.write(run)

    def all(self, *, left: bool) -> Agents:
        """Return the agents, with `left` also those that left."""
        with self._rows.store.read() as connection:
            found = self._rows.agents(connection, "1" if left else "status <> 'left'")
            return self._rows.counted(connection, found)

    def get(self, name: str) -> AgentInfo:
        """Return an agent.

        Raises:
            AgentUnknownError: there is none of that name.
        """
        with self._rows.store.read() as connection:
            return self._rows.counted(connection, [self._rows.agent(connection, name)])[0]

    # Tokens --------------------------------------------------------------------------------------------------

    def make_token(self, name: str, *, by: str) -> str:
        """Return a new token of a remote agent; it is told once, kept only as a hash, and voids the one before.

        Raises:
            SwarmError: the agent is not remote, or left.
        """
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)

        def run(connection: Connection) -> None:
            agent = self._rows.agent(connection, name)
            if agent.kind != "remote" or agent.status == "left":
                message = f"{name} is {agent.kind} and {agent.status}; only a registered remote agent has a token"
                raise SwarmError(message)
            query = "UPDATE swarm_agents SET token_hash = ?, token_at = ? WHERE name = ?"
            connection.execute(query, (_hash(token), self._rows.now_us(), name))
            self._rows.tell(connection, "agent.token_made", {"by": by, "again": agent.has_token}, agent_id=name)

        self._rows.store.write(run)
        return token

    def revoke_token(self, name: str, *, by: str) -> AgentInfo:
        """Make an agent's token void; it keeps its place, and needs another token to come in.

        Raises:
            AgentUnknownError: there is none of that name.
        """

        def run(connection: Connection) -> AgentInfo:
            before = self._rows.agent(connection, name)
            if before.has_token:
                query = "UPDATE swarm_agents SET token_hash = NULL, token_at = NULL WHERE name = ?"
                connection.execute(query, (name,))
                self._rows.tell(connection, "agent.token_revoked", {"by": by}, agent_id=name)
            return self._rows.agent(connection, name)

        return self._rows.store.write(run)

    def of_token(self, token: str) -> str:
        """Return whose token it is.

        Raises:
            AgentTokenError: nobody's.
        """
        # The token is 256 random bits, so its plain hash can neither be guessed nor turned back.
        query = "SELECT name FROM swarm_agents WHERE token_hash = ? AND status <> 'left'"
        with self._rows.store.read() as connection:
            row = connection.execute(query, (_hash(token),)).fetchone()
        if row is None:
            message = "this token is no agent's; `timmy agent token NAME` makes one"
            raise AgentTokenError(message)
        return str(row[0])


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
