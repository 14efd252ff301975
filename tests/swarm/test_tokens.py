"""Who is in the swarm, and the tokens with which agents come from elsewhere."""

from __future__ import annotations

import pytest

from timmy_core.errors import AgentTokenError, SwarmError
from timmy_core.swarm.coordinator import Swarm
from timmy_core.timmy import Timmy


@pytest.fixture
def swarm(home_of_swarm: Timmy) -> Swarm:
    home_of_swarm.swarm.register("far", capabilities=["text"])
    return home_of_swarm.swarm


def test_a_token_says_whose_it_is_and_is_kept_nowhere(swarm: Swarm, home_of_swarm: Timmy) -> None:
    token = swarm.make_token("far", by="me")
    assert swarm.agent_of(token) == "far"
    assert token not in str([event.data for event in home_of_swarm.events.list()])
    home_of_swarm.shutdown()
    for path in home_of_swarm.settings.home.glob("timmy.db*"):
        assert token.encode() not in path.read_bytes()


def test_a_new_token_a_revocation_and_leaving_make_a_token_void(swarm: Swarm) -> None:
    first = swarm.make_token("far", by="me")
    second = swarm.make_token("far", by="me")
    with pytest.raises(AgentTokenError):
        swarm.agent_of(first)
    assert swarm.revoke_token("far", by="me").has_token is False
    with pytest.raises(AgentTokenError):
        swarm.agent_of(second)
    third = swarm.make_token("far", by="me")
    swarm.leave("far")
    with pytest.raises(AgentTokenError):
        swarm.agent_of(third)


def test_every_change_of_a_token_is_an_event(swarm: Swarm, home_of_swarm: Timmy) -> None:
    swarm.make_token("far", by="me")
    swarm.revoke_token("far", by="me")
    swarm.revoke_token("far", by="me")
    kinds = [event.type for event in home_of_swarm.events.list(agent_id="far", order="asc")]
    assert kinds == ["agent.joined", "agent.token_made", "agent.token_revoked"]


def test_only_a_remote_agent_has_a_token(swarm: Swarm) -> None:
    swarm.register("near", kind="local")
    with pytest.raises(SwarmError, match="only a registered remote agent"):
        swarm.make_token("near", by="me")


def test_registering_again_changes_nothing_and_after_leaving_it_joins_anew(swarm: Swarm, home_of_swarm: Timmy) -> None:
    assert swarm.register("far", capabilities=["text"]).joined_at == swarm.agent("far").joined_at
    swarm.leave("far", reason="tired")
    assert swarm.leave("far").status == "left"
    assert swarm.agents() == []
    assert [one.name for one in swarm.agents(left=True)] == ["far"]
    swarm.register("far", capabilities=["text", "code"])
    kinds = [event.type for event in home_of_swarm.events.list(agent_id="far", order="asc")]
    assert kinds == ["agent.joined", "agent.left", "agent.joined"]


def test_names_kinds_and_capabilities_are_checked(swarm: Swarm) -> None:
    for name in ("", "Far", "a" * 41, "a b", "timmy", "echo", "../x"):
        with pytest.raises(SwarmError):
            swarm.register(name)
    for wrong in ({"kind": "boss"}, {"wallet": "purse"}, {"capabilities": ["A"]}, {"capabilities": "text"},
                  {"description": "x" * 501}):  # fmt: skip
        with pytest.raises(SwarmError):
            swarm.register("other", **wrong)  # type: ignore[arg-type]
    with pytest.raises(SwarmError, match="remote agent already"):
        swarm.register("far", kind="local")
