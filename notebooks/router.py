# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Router · Timmy", css_file="ui/theme.css")

with app.setup:
    from functools import partial

    import marimo as mo

    from timmy_core import TimmyError, open_timmy
    from ui import attempts, chips, frame, measures, now, palette, parts, provider_charts, saving, timeline, views
    from ui.cascade import cascade as drawn
    from ui.pulse import Pulse
    from ui.steering import Steering, who
    from ui.trying import Trying

    FAMILIES = ["llm", "circuit", "provider", "router", "budget"]


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("router", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=10, families=FAMILIES))
    pulse
    return (pulse,)


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(Steering(timmy.router, by=who()))
    hands
    return (hands,)


@app.cell
def questions(timmy):
    tried = mo.ui.anywidget(Trying(timmy.router))
    groups = measures.groups(palette.colors_of(timmy))
    choice = mo.ui.anywidget(chips.Chips(chips.from_address(frame.query(), groups), groups, layout="line"))
    return choice, tried


@app.cell
def saving_pulse(choice, timmy):
    mo.ui.anywidget(saving.Saving(attempts=partial(saving.attempts, timmy, choice.widget)))


@app.cell
def state(choice, hands, pulse, timmy, tried):
    pulse.value, hands.value
    here = now.look(timmy)
    tried.widget.offer([(provider.name, provider.model) for provider in here.providers])
    choice.widget.offer(measures.groups(here.colors))
    return (here,)


@app.cell
def headline(here):
    frame.header("Router", now.first_line(here), more=now.notes(here) or now.explained(here))


@app.cell
def cascade(here):
    mo.Html(f'<section class="tw-section tw-steps-of">{drawn(here)}</section>')


@app.cell
def trying(tried):
    # It depends on nothing that changes, so that what is typed stays while the rest is drawn anew.
    tried


@app.cell
def choosing_line(choice):
    choice


@app.cell
def slow_pulse():
    # The charts are drawn anew less often than the numbers, so that they can be read.
    slow = mo.ui.anywidget(Pulse(follow=False, dot=False, every_s=30))
    slow
    return (slow,)


@app.cell
def measuring(choice, slow, timmy, tried):
    slow.value, tried.value["done"]
    query = choice.value["query"]
    found = measures.measure(timmy, query)
    return found, query


@app.cell
def measured_line(found):
    mo.Html(f'<p class="tw-line tw-matching">{measures.headline(found)}</p>') if found.any else None


@app.cell
def circuits(here, query, timmy):
    mo.Html(circuit_lanes(timmy, here, query)) if here.providers else None


@app.cell
def latency(found):
    mo.vstack(latency_views(found), gap=0) if found.any else None


@app.cell
def reliability(found):
    mo.Html(measures.reliability(found)) if found.any else None


@app.cell
def costs(found):
    mo.vstack(cost_views(found), gap=0) if found.any else None


@app.cell
def budgets(found, here):
    mo.Html(measures.budgets(here)) if found.any else None


@app.cell
def recent(found, here, query, timmy):
    mo.Html(recent_attempts(timmy, query, here)) if found.any else None


@app.function
def circuit_lanes(timmy, here, query):
    """Return the states of all circuits, or of one provider's, over the chosen time."""
    since, until = measures.span(query, here.at)
    wanted = query.get("provider")
    lanes = []
    for provider in here.providers:
        if wanted not in (None, provider.name) or not provider.configured:
            continue
        moves = timmy.router.timeline(provider.name, since=since)
        models = [one.model for one in provider.circuits] or [provider.model]
        lanes += [(provider, model, [move for move in moves if move.model == model]) for model in models]
    body = timeline.timeline(lanes, since, until, here.colors)
    return parts.section("Circuits", body, note=f'<span class="tw-labels">{timeline.legend()}</span>')


@app.function
def latency_views(found):
    """Return how long answers took, as a distribution and over time; a sentence where nothing was measured."""
    if found.problem or not found.count or provider_charts.measured(found.attempts).is_empty():
        nothing = "Nothing was asked in this time, so there is nothing to measure."
        return [mo.Html(parts.section("Latency", parts.empty(nothing, then="Try it above, or choose a longer time.")))]
    views_ = []
    if not provider_charts.answered(found.attempts).is_empty():
        title = chart_title("How long answers took", "whole answer, and its first token · ┃ p50 ┆ p95", found)
        views_ += [mo.Html(title), provider_charts.distributions(found.attempts, found.colors)]
    many = "" if len(found.attempts) < provider_charts.MARKS else f"the newest {provider_charts.MARKS:,} · "
    title = chart_title("Attempts over time", f"{many}● answered, ✚ failed", None)
    return [*views_, mo.Html(title), provider_charts.over_time(found.attempts, found.colors, found.since, found.until)]


@app.function
def chart_title(title, how, found):
    """Return what a chart shows, how it is read, and one label a provider in its colour."""
    names = sorted(line.provider for line in found.lines) if found else []
    labels = "".join(views.label(name, found.colors.get(name, palette.NEUTRAL)) for name in names)
    return (
        f'<div class="tw-chart-title"><span>{title} <span class="tw-muted">{how}</span></span>'
        f'<span class="tw-labels">{labels}</span></div>'
    )


@app.function
def cost_views(found):
    """Return what was spent on each day, or a sentence where nothing was."""
    days = measures.costs_frame(found.costs)
    if days:
        title = measures.cost_title(found.costs, found.colors)
        return [mo.Html(title), provider_charts.costs(days, found.until, found.colors)]
    unknown = sum(cost.unpriced for cost in found.costs)
    nothing = "Nothing was spent in the last 7 days."
    if unknown:
        nothing = f"{parts.plural(unknown, 'attempt')} of the last 7 days cost something that nobody knows."
    return [mo.Html(parts.section("Cost a day", parts.empty(nothing)))]


@app.function
def recent_attempts(timmy, query, here):
    """Return the newest attempts of the chosen time."""
    since, _ = measures.span(query, here.at)
    only = {"provider": query["provider"]} if query.get("provider") else {}
    link = '<a href="/swarm/events?family=llm">all events of models →</a>'
    try:
        rows = timmy.frame("attempts", since=since, limit=attempts.SHOWN, **only)
    except TimmyError as error:
        return parts.section("Recent attempts", parts.empty(str(error)), note=link)
    nothing = parts.empty("No attempt in this time.", then="Ask something above, or choose a longer time.")
    return parts.section(
        "Recent attempts",
        nothing if rows.is_empty() else attempts.table(rows, here.colors),
        note=f"{saving.links('attempts')} · {link}",
    )


@app.cell
def checks():
    def test_without_providers_the_line_says_what_every_question_gets():
        assert "every question gets the offline answer" in now.first_line(now.Now())

    def test_a_range_that_nobody_knows_is_the_usual_one():
        assert chips.from_address({"range": "9y", "provider": "p"}, measures.groups({})) == {
            "range": "24h",
            "provider": "p",
        }

    def test_nothing_spent_is_a_sentence():
        found = measures.Measured(now.Now().at, now.Now().at, "a moment")
        assert "Nothing was spent" in cost_views(found)[0].text


if __name__ == "__main__":
    app.run()
