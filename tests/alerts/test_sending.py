"""What needs a person's eye is told to a webhook or to ntfy: once when it begins, once when it is over."""

from __future__ import annotations

import json
import threading
import time

import pytest
from pydantic import SecretStr, ValidationError

from timmy_core.errors import AlertError
from timmy_core.settings_alerts import RULES, AlertSettings

from .alert_house import Build, Receiver, break_chain


def test_a_webhook_is_told_once_that_it_began_and_once_that_it_is_over(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url), token=SecretStr("t0ken"), page_url="https://timmy.lan/")
    break_chain(house)
    for _ in range(3):
        house.look(10)
        house.alerts.deliver()
    break_chain(house, "")
    for _ in range(3):
        house.look(10)
        house.alerts.deliver()
    assert receiver.said() == ["raised chain_broken", "resolved chain_broken"]
    headers, body = receiver.got[0]
    assert headers["Authorization"] == "Bearer t0ken"
    assert json.loads(body)["link"] == "https://timmy.lan/swarm/events"
    assert house.types() == ["alert.raised", "alert.notified", "alert.resolved", "alert.notified"]


def test_ntfy_gets_a_title_a_priority_and_a_link(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url), kind="ntfy", page_url="https://timmy.lan")
    break_chain(house, "ein Stück fehlt")
    house.look()
    house.alerts.deliver()
    headers, body = receiver.got[0]
    assert headers["Title"] == "Timmy: the log does not hold"
    assert headers["Priority"] == "high"
    assert headers["Click"] == "https://timmy.lan/swarm/events"
    assert "ein Stück fehlt" in body.decode()


def test_what_did_not_arrive_is_tried_later_and_later_and_said_once(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url))
    receiver.status = 503
    break_chain(house)
    house.look()
    for wait_s in (0, 1, 14, 29, 61):
        house.clock.advance(wait_s)
        house.alerts.deliver()
    assert house.alerts.delivery().waiting == 1
    assert "503" in house.alerts.delivery().problem
    receiver.status = 200
    house.clock.advance(3600)
    assert house.alerts.deliver() == 1
    assert house.types() == ["alert.raised", "alert.notify_failed", "alert.notified"]
    assert house.alerts.delivery().problem == ""


def test_nobody_is_told_that_something_is_over_of_which_nobody_was_told(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url))
    receiver.status = 500
    break_chain(house)
    house.look()
    house.alerts.deliver()
    break_chain(house, "")
    house.look(10)
    receiver.status = 200
    house.clock.advance(3600)
    assert house.alerts.deliver() == 0
    assert receiver.got == []


def test_after_a_day_in_vain_it_is_given_up(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url))
    receiver.status = 500
    break_chain(house)
    house.look()
    house.clock.advance(86_401)
    house.alerts.deliver()
    assert house.alerts.delivery().waiting == 0
    assert house.timmy.events.list(type="alert.notify_failed")[0].data["given_up"] is True


@pytest.mark.parametrize(("status", "said"), [(302, "sends us elsewhere"), (404, "answers with 404")])
def test_a_test_says_why_it_did_not_arrive_and_never_the_address(
    status: int, said: str, build: Build, receiver: Receiver
) -> None:
    house = build(url=SecretStr(receiver.url))
    receiver.status = status
    with pytest.raises(AlertError, match=said) as caught:
        house.alerts.test()
    assert "geheim" not in str(caught.value)
    receiver.status = 200
    house.alerts.test()
    assert "test" in receiver.got[0][1].decode()


def test_an_address_that_nobody_answers_at_is_never_shown(build: Build) -> None:
    house = build(url=SecretStr("http://127.0.0.1:1/geheim"))
    with pytest.raises(AlertError, match="cannot be reached") as caught:
        house.alerts.test()
    assert "geheim" not in str(caught.value)
    with pytest.raises(AlertError, match="no address is named"):
        build().alerts.test()


def test_what_was_to_be_told_when_the_process_died_is_told_by_the_next(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url))
    break_chain(house)
    house.look()
    house.timmy.shutdown()
    again = build(url=SecretStr(receiver.url))
    again.clock.advance(60)
    assert again.look() == ["chain_broken"]
    assert again.alerts.deliver() == 1
    assert receiver.said() == ["raised chain_broken"]


def test_it_looks_and_tells_by_itself_and_ends_while_a_receiver_hangs(build: Build, receiver: Receiver) -> None:
    house = build(url=SecretStr(receiver.url), every_s=1)
    break_chain(house)
    house.alerts.start()
    deadline = time.monotonic() + 20
    while not receiver.got and time.monotonic() < deadline:
        time.sleep(0.02)
    assert receiver.said() == ["raised chain_broken"]
    house.timmy.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name == "timmy-alerts"]


def test_settings_that_cannot_be_are_refused_without_the_address() -> None:
    with pytest.raises(ValidationError, match="does not begin with https") as caught:
        AlertSettings(url=SecretStr("ftp://geheim"))
    assert "geheim" not in str(caught.value)
    with pytest.raises(ValidationError, match="twice"):
        AlertSettings(rules=("chain_broken", "chain_broken"))
    assert AlertSettings().rules == RULES
