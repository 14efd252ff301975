# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Latency lab · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from timmy_core.router import latency
    from ui import addressed, attempts, chips, frame, labs, latency_charts, latency_views, palette, parts, saving
    from ui.pulse import Pulse


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("labs", timmy)


@app.cell
def pulse(timmy):
    # A lab is read, so it is not drawn anew while one reads; this only keeps the times and the dot alive.
    mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=3600, families=["x"]))


@app.cell
def saving_pulse():
    saved = mo.ui.anywidget(saving.Saving())
    saved
    return (saved,)


@app.cell
def choosing(timmy):
    colors = palette.colors_of(timmy)
    groups = latency_views.groups(colors)
    choice = mo.ui.anywidget(chips.Chips(chips.from_address(frame.query(), groups), groups))
    return choice, colors


@app.cell
def chosen(choice, timmy):
    query = choice.value["query"]
    among = latency_views.chosen(query, timmy.clock.now())
    by, measure = latency_views.by_of(query), latency_views.measure_of(query)
    return among, by, measure, query


@app.cell
def headline(among, measure, query, timmy):
    whole = labs.ask(timmy, latency.percentiles(among, "provider", measure))
    frame.header("Latency lab", latency_views.headline(whole, query), more=labs.tabs("latency"))
    return (whole,)


@app.cell
def controls(choice):
    choice


@app.cell
def percentiles(among, by, colors, measure, saved, timmy, whole):
    at = labs.ask(timmy, latency.percentiles(among, by, measure))
    saved.widget.offer("percentiles", at.frame)
    shown = mo.vstack(percentile_views(at, by, measure, colors), gap=0) if whole.any else None
    shown


@app.cell
def distribution(among, colors, measure, timmy, whole):
    steps = labs.ask(timmy, latency.distribution(among, measure))
    labs.view(
        f"How long answers took: {latency_views.MEASURES[measure]}",
        "how many, on a scale on which each step is a fifth longer",
        steps,
        lambda found: latency_charts.distribution(found, colors),
        labels=latency_views.labels(steps, colors),
    ) if whole.any else None


@app.cell
def first_tokens(among, colors, timmy, whole):
    pairs = labs.ask(timmy, latency.first_against_whole(among))
    labs.view(
        "First token against the whole answer",
        "of streams: to the right the first token, upwards the last",
        pairs,
        lambda found: latency_charts.first_against_whole(found, colors),
        labels=latency_views.labels(pairs, colors),
        nothing="No stream was answered in this time.",
    ) if whole.any else None


@app.cell
def error_budget(among, colors, timmy, whole):
    used = labs.ask(timmy, latency.error_budget(among))
    labs.view(
        "Error budget",
        "how much of 1 % of all attempts had failed by when; above the line it is overdrawn, at the top four times or more",
        used,
        lambda found: latency_charts.error_budget(found, colors),
        labels=latency_views.labels(used, colors),
    ) if whole.any else None


@app.cell
def costs(among, colors, timmy, whole):
    prices = labs.ask(timmy, latency.cost_against_latency(among))
    labs.view(
        "Cost against latency",
        "of a thousand answers, beside how long half of them took",
        prices,
        lambda found: latency_charts.cost_against_latency(found, colors),
        labels=latency_views.labels(prices, colors),
        nothing="Nobody knows what these answers cost.",
    ) if whole.any else None


@app.cell
def comparing(among, query, saved, timmy, whole):
    split = latency_views.split_of(query, among)
    sides = labs.ask(timmy, latency.before_and_after(among, split))
    saved.widget.offer("before_and_after", sides.frame)
    mo.Html(comparison(sides, split)) if whole.any else None


@app.cell
def points(among, colors, timmy, whole):
    single = labs.ask(timmy, latency.points(among))
    title = labs.titled("Single attempts", "● answered, ✚ failed · drag a box to look closer", single)
    boxes = (
        mo.ui.altair_chart(
            latency_charts.points(single.frame, colors, among.since, among.until),
            legend_selection=False,
            chart_selection=False,
        )
        if single.any
        else None
    )
    mo.Html(title + boxes.text) if boxes is not None else None
    return (boxes,)


@app.cell
def drilled(among, boxes, colors, saved, timmy, whole):
    mo.Html(closer(timmy, among, boxes.selections, colors, saved.widget)) if boxes is not None and whole.any else None


@app.function
def percentile_views(at, by, measure, colors):
    """Return the percentiles as a chart and in numbers."""
    title = f"{latency_views.MEASURES[measure].capitalize()} by {latency_views.BY[by]}"
    how = "● half, ■ 90, ◆ 95 and ◂ 99 of 100"
    if not at.any:
        return [labs.view(title, how, at, None, nothing="Nothing of this was measured in this time.")]
    chart = latency_charts.percentiles(at.frame, by, colors)
    saves = f'<p class="tw-saves-of">{saving.links("percentiles")}</p>'
    table = mo.Html(latency_views.percentile_table(at, by) + saves)
    return [mo.Html(labs.titled(title, how, at)), chart, table]


@app.function
def comparison(sides, split):
    """Return what changed at a moment."""
    note = f"before and after {parts.minute(split)}"
    if not sides.any:
        words = sides.problem or "nothing was answered in this time"
        return parts.section("Before and after", parts.empty(parts.sentence(words)), note=note)
    return parts.section(
        "Before and after",
        labs.sql_of(sides.sql) + latency_views.before_and_after(sides),
        note=f"{note} · {saving.links('before_and_after')}",
    )


@app.function
def closer(timmy, among, selections, colors, saved):
    """Return the single attempts of the box that was drawn."""
    narrow, least, most, words = latency_views.narrowed(among, selections)
    found = labs.ask(timmy, latency.drill(narrow, least_ms=least, most_ms=most))
    if not found.any:
        body = parts.empty(parts.sentence(found.problem or "no attempt lies there"))
    else:
        body = attempts.table(found.frame.head(attempts.SHOWN).reverse(), colors)
    saved.offer("attempts", found.frame)
    more = f", {attempts.SHOWN} of {len(found.frame)}" if len(found.frame) > attempts.SHOWN else ""
    return parts.section("Attempts", labs.sql_of(found.sql) + body, note=f"{words}{more} · {saving.links('attempts')}")


@app.cell
def checks():
    def test_a_moment_outside_of_the_time_is_its_middle():
        among = latency.Chosen(addressed.moment("2026-03-01T00:00+00:00"), addressed.moment("2026-03-03T00:00+00:00"))
        middle = addressed.moment("2026-03-02T00:00+00:00")
        assert latency_views.split_of({"split": "2020-01-01T00:00:00Z"}, among) == middle
        assert latency_views.split_of({"split": "nonsense"}, among) == middle

    def test_without_answers_the_line_says_what_to_do():
        assert "nothing to measure" in latency_views.headline(labs.Asked(""), {})


if __name__ == "__main__":
    app.run()
