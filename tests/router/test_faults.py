"""The matrix: every known fault, in every API, plain and streamed, in front of a provider that is well."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from timmy_core.router.cascade import OFFLINE, Cascade
from timmy_core.testing import FAULTS, Fault

from .sick import DEADLINE_S, Chart, Heard, Ward, ask, assert_from_the_well_one, ward

SLACK_S = 2.0  # for a machine that has other things to do
BOTH = (False, True)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_named_survived_and_remembered(name: str) -> None:
    fault = FAULTS[name]
    async with AsyncExitStack() as stack:
        wards = await asyncio.gather(*(stack.enter_async_context(ward(api)) for api in fault.apis))
        for each in wards:
            await fall_ill(each, fault)
        cases = [(each, streamed) for each in wards for streamed in BOTH]
        told = await asyncio.gather(*(case(each, fault, streamed) for each, streamed in cases))
        wrong = [line for line in told if line]
        assert not wrong, "\n".join(["", *wrong])


async def fall_ill(each: Ward, fault: Fault) -> None:
    """Make the first server of a ward fail."""
    if fault.turns is None:
        await each.sick.stop()
    else:
        each.sick.then(fault)


async def case(each: Ward, fault: Fault, streamed: bool) -> str:
    """Run one field of the matrix; returns what is wrong there."""
    chart = Chart()
    cascade = each.cascade(chart=chart)
    try:
        heard = await ask(cascade, streamed=streamed)
        check_attempt(heard, fault, streamed)
        check_record(chart, fault, streamed)
        check_answer(heard, fault, streamed)
        await check_memory(each, cascade, fault, streamed)
    except AssertionError as error:
        return f"{each.api} {'streamed' if streamed else 'plain'}: {error}"
    return ""


def check_attempt(heard: Heard, fault: Fault, streamed: bool) -> None:
    """The sick provider's attempt has the right class and was over in time."""
    first = heard.answer.attempts[0]
    expected = fault.error_class(streamed=streamed)
    assert first.provider == "sick"
    assert first.error_class == expected, f"{first.error_class} instead of {expected}: {first.message}"
    assert first.outcome == ("completed" if expected is None else "failed")
    assert heard.took_s < (1.0 if fault.at_once else DEADLINE_S) + SLACK_S, f"it took {heard.took_s:.1f} s"
    if expected is not None:
        assert first.message, "a failure says what happened"
        assert first.advice, "a failure says what to do"


def check_record(chart: Chart, fault: Fault, streamed: bool) -> None:
    """What is kept of the sick provider's attempt is no success, and says what it used, if only by estimate."""
    record = chart.records[0]
    well = fault.error_class(streamed=streamed) is None
    assert (record.attempt.provider, record.attempt.outcome) == ("sick", "completed" if well else "failed")
    assert (record.finish_reason == "stop") == well, f"its finish reason is {record.finish_reason}"
    assert record.streamed == streamed
    if well:
        assert record.usage.output_tokens, "an answer has used something"
        assert record.usage.estimated == (fault.name == "no_usage")


def check_answer(heard: Heard, fault: Fault, streamed: bool) -> None:
    """The answer comes from whom it should, and nothing of the failed one is counted as a success."""
    answer = heard.answer
    if fault.error_class(streamed=streamed) is None:
        assert (answer.provider, answer.model, answer.text) == ("sick", "tiny", "Hello there."), str(answer)
        assert [attempt.outcome for attempt in answer.attempts] == ["completed"]
        assert not heard.switches
        return
    said = streamed and fault.shows
    if fault.effect == "stop":
        assert (answer.provider, answer.offline, answer.finish_reason) == (OFFLINE, True, "content_filter"), str(answer)
        assert len(answer.attempts) == 1, "nobody else is asked about what was refused"
    else:
        assert [attempt.outcome for attempt in answer.attempts] == ["failed", "completed"], str(answer.attempts)
        assert_from_the_well_one(heard)
    assert len(heard.switches) == said, f"{len(heard.switches)} switches: {heard.switches}"
    for switch in heard.switches:
        assert (switch.from_provider, switch.to_provider) == ("sick", answer.provider)
        assert switch.reason
        assert heard.voided, "a switch stands where something was shown"


async def check_memory(each: Ward, cascade: Cascade, fault: Fault, streamed: bool) -> None:
    """The fault did to its provider what it had to do."""
    standing = cascade.snapshot("sick", "tiny")
    counted = fault.effect == "failure" and fault.error_class(streamed=streamed) is not None
    assert standing.failures == counted, f"{standing.failures} failures are counted"
    assert standing.circuit == "closed"
    resting = fault.effect == "limited"
    assert (standing.limited_until is not None) == resting, f"limited until {standing.limited_until}"
    if fault.limit_s is not None and standing.limited_until is not None:
        left_s = (standing.limited_until - datetime.now(UTC)).total_seconds()
        assert fault.limit_s - 5 < left_s <= fault.limit_s + 1, f"left alone for {left_s:.1f} s"
    if fault.effect in ("limited", "barred"):
        await check_left_alone(each, cascade, fault, streamed)


async def check_left_alone(each: Ward, cascade: Cascade, fault: Fault, streamed: bool) -> None:
    """It is not asked again, and the reason that is given is the same as before."""
    before = sum(question.streamed == streamed for question in each.sick.questions)
    again = await ask(cascade, streamed=streamed)
    first = again.answer.attempts[0]
    assert (first.outcome, first.error_class) == ("skipped", fault.error_class(streamed=streamed)), str(first)
    assert_from_the_well_one(again)
    assert sum(question.streamed == streamed for question in each.sick.questions) == before, "it was asked again"
