# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Home · Timmy", css_file="ui/theme.css")

with app.setup:
    import asyncio

    import marimo as mo

    from timmy_core import Answer, Delta, Done, Switch, open_timmy
    from ui import frame, parts, sentences, views
    from ui.chat import Conversation, spoken
    from ui.keeping import Keeping
    from ui.markup import act
    from ui.pulse import Pulse
    from ui.steering import who

    SESSION = "default"
    PROMPTS = ["What can you do?", "Which model is this?"]


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("home", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=5))
    pulse
    return (pulse,)


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(Keeping(timmy, by=who()))
    hands
    return (hands,)


@app.cell
def state(hands, pulse, timmy):
    pulse.value, hands.value
    status = timmy.status()
    remembers = timmy.switches.get(SESSION).enabled
    return remembers, status


@app.cell
def headline(status, timmy):
    steps = sentences.to_do(status.providers, toml=str(timmy.settings.toml_path))
    answer = sentences.can_answer(status.providers)
    frame.header("Timmy", f"{answer} Here is what to do:" if steps else answer, more=steps)


@app.cell
def conversation(timmy):
    chat = Conversation(
        lambda text: timmy.ask_stream(text, session=SESSION), timmy.history(SESSION, limit=50), prompts=PROMPTS
    )
    mo.Html(f'<div class="tw-chat">{chat}</div>')


@app.cell
def glance(remembers, status, timmy):
    mo.Html(
        parts.section("Providers", views.providers_at_a_glance(status.providers), note=link("/router/status", "router"))
        + parts.section("Memory", memory(enabled=remembers), note=link("/memory", "memory"))
        + parts.section("Last events", last_events(timmy.events.list(limit=5)), note=link("/swarm/live", "live"))
        + parts.section("This home", here(status))
    )


@app.function
def last_events(events):
    """Return the newest events, or what to do when there is none."""
    return views.event_rows(events) if events else parts.empty("Nothing has happened yet.", then="Ask Timmy something.")


@app.function
def memory(*, enabled):
    """Return whether this conversation uses memory, and the button that switches it."""
    words = "off for this conversation" if not enabled else "recalled before an answer, kept after"
    switch = act(
        "Switch off" if enabled else "Switch on", {"action": "switch", "session": SESSION, "enabled": not enabled}
    )
    return f'<div class="tw-memory-of">{parts.pill("good" if enabled else "off", "on" if enabled else "off")}<span class="tw-muted">{words}</span>{switch}</div>'


@app.function
def here(status):
    """Return the counts of this home, and where it is."""
    return parts.facts(
        [
            ("events", parts.count(status.events)),
            ("questions", parts.count(status.questions)),
            ("store", parts.size(status.database_bytes)),
            ("running since", parts.ago(status.started_at)),
            ("version", status.version),
            ("home", parts.ident(str(status.home), chars=30)),
        ]
    )


@app.function
def link(path, word):
    """Return a small link to another page."""
    return f'<a class="tw-muted" href="{path}">{word} →</a>'


@app.cell
def checks():
    def test_the_answer_ends_with_who_gave_it():
        assert streamed(answered("hello", provider="ollama")).endswith("`ollama · m · 412 ms`")

    def test_an_offline_answer_is_marked():
        assert "no model answered" in streamed(answered("nobody", provider="offline", offline=True))

    def test_a_switch_says_that_the_first_part_is_void():
        text = streamed([Delta("half"), Switch("a", "b", "timeout"), *answered("whole", provider="b")])
        assert text.index("half") < text.index("a broke off (timeout)") < text.index("whole")

    def test_a_switched_off_memory_says_so_and_offers_the_way_back():
        assert "Switch on" in memory(enabled=False)

    def test_an_empty_home_says_what_to_do():
        assert "Ask Timmy something" in last_events([])


@app.function
def answered(text, *, provider, offline=False):
    """Return the parts of a streamed answer; for the tests."""
    answer = Answer(text, provider, "m", None, None, (), "t", offline=offline, latency_ms=412.0)
    return [Delta(text), Done(answer)]


@app.function
def streamed(stream):
    """Return all that the chat shows of a stream; for the tests."""

    async def play():
        for part in stream:
            yield part

    async def collect():
        return "".join([text async for text in spoken(play())])

    return asyncio.run(collect())


if __name__ == "__main__":
    app.run()
