# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Policy lab · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from ui import chips, frame, knobs, labs, palette, policy_charts, policy_views, saving
    from ui.addressed import RANGES
    from ui.plan_hands import PlanHands
    from ui.pulse import Pulse
    from ui.steering import who


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("labs", timmy)


@app.cell
def pulse(timmy):
    # What is replayed stays as it is while one reads; this only keeps the times and the dot alive.
    mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=3600, families=["x"]))


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(PlanHands(timmy.lab, by=who()))
    hands
    return (hands,)


@app.cell
def saving_pulse():
    saved = mo.ui.anywidget(saving.Saving())
    saved
    return (saved,)


@app.cell
def choosing(timmy):
    address = frame.query()
    colors, today = palette.colors_of(timmy), timmy.lab.today()
    times = [chips.Group("range", "replay", [chips.Choice(key, RANGES[key][0]) for key in labs.OFFERED], labs.USUAL)]
    choice = mo.ui.anywidget(chips.Chips(chips.from_address(address, times), times))
    turned = mo.ui.anywidget(knobs.Knobs(today, knobs.from_address(address, today, list(colors)), colors))
    return choice, turned


@app.cell
def past(choice, timmy):
    query = choice.value["query"]
    before = policy_views.past(timmy, query)
    return before, query


@app.cell
def tried(before, hands, timmy, turned):
    found = policy_views.tried(timmy, before, turned.value["plan"])
    hands.widget.hold(found.plan, policy_views.why(before, found))
    return (found,)


@app.cell
def headline(before, found, query):
    frame.header("Policy lab", policy_views.headline(before, found, query), more=labs.tabs("policy"))


@app.cell
def controls(choice):
    choice


@app.cell
def turning(before, turned):
    turned if before.any else None


@app.cell
def trust(before):
    mo.Html(policy_views.faith(before)) if before.any else None


@app.cell
def answered_within(before, found):
    mo.vstack(charts_of(policy_views.series(before, found)), gap=0) if before.any else None


@app.cell
def side_by_side(before, found, saved):
    saved.widget.offer("policies", policy_views.figures(before, found))
    mo.Html(policy_views.unknown(found) + policy_views.comparison(before, found)) if before.any else None


@app.cell
def change(found, hands, timmy):
    hands.value
    shown = policy_views.change(timmy, found)
    mo.Html(shown) if shown else None


@app.cell
def limits():
    mo.Html(policy_views.limits())


@app.function
def charts_of(series):
    """Return how fast and how surely each policy answers, as two charts."""
    labels = policy_charts.labels(series)
    fast = chart_title("Answered within", "which share of all requests, and how soon", labels)
    sure = chart_title("Answered over time", "which share of the requests of that time", labels)
    return [mo.Html(fast), policy_charts.within(series), mo.Html(sure), policy_charts.over_time(series)]


@app.function
def chart_title(title, how, labels):
    """Return what a chart shows, how it is read, and one label a line."""
    return (
        f'<div class="tw-chart-title"><span>{title} <span class="tw-muted">{how}</span></span>'
        f'<span class="tw-labels">{labels}</span></div>'
    )


@app.cell
def checks():
    def test_without_requests_the_line_says_what_to_do():
        assert "nothing to replay" in policy_views.headline(policy_views.Past(), policy_views.Tried(), {})

    def test_what_cannot_be_replayed_is_said():
        before = policy_views.Past(problem="it took too long")
        assert "it took too long" in policy_views.headline(before, policy_views.Tried(), {})

    def test_every_limit_is_told():
        assert policy_views.limits().count("<li>") == 4


if __name__ == "__main__":
    app.run()
