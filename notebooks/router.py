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
    import marimo as mo

    from timmy_core import open_timmy
    from ui import charts, frame, palette, parts, sentences, views
    from ui.pulse import Pulse

    SHOWN = 1_000


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail():
    frame.rail("router")


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=5))
    pulse
    return (pulse,)


@app.cell
def state(pulse, timmy):
    pulse.value
    providers = timmy.router.status()
    return (providers,)


@app.cell
def headline(providers):
    frame.header("Router", sentences.can_answer(providers), plain=totals(providers))


@app.cell
def cascade(providers):
    mo.Html(f'<section class="tw-section">{views.cascade(providers)}</section>')


@app.cell
def chart_pulse():
    # The chart is drawn anew less often than the numbers, so that it can be read.
    slow = mo.ui.anywidget(Pulse(follow=False, dot=False, every_s=20))
    slow
    return (slow,)


@app.cell
def latency(slow, timmy):
    slow.value
    attempts = charts.measured(timmy.frame("attempts", limit=SHOWN))
    kinds = {provider.name: provider.kind for provider in timmy.router.status()}
    nothing = parts.section("Latency", parts.empty("No provider was asked yet, so there is nothing to measure."))
    drawn = [mo.Html(chart_title(attempts, kinds)), charts.latencies(attempts, kinds)]
    mo.Html(nothing) if attempts.is_empty() else mo.vstack(drawn)


@app.cell
def failures(providers):
    mo.Html(parts.section("Recent failures", views.failures(providers)))


@app.function
def totals(providers):
    """Return what all providers did, in one line of plain words."""
    requests = sum(provider.requests for provider in providers)
    errors = sum(provider.errors for provider in providers)
    if not requests:
        return "A question goes to the first provider that can take it; where one fails, the next is asked."
    return f"{parts.plural(requests, 'attempt')}, {parts.count(errors)} of them failed."


@app.function
def chart_title(attempts, kinds):
    """Return what the marks show, with one label a provider in its colour."""
    labels = "".join(
        views.label(name, palette.provider_color(kinds.get(name, name)))
        for name in sorted(attempts["provider"].unique())
    )
    return (
        f'<div class="tw-chart-title"><span>Latency of the last {parts.plural(len(attempts), "attempt")}'
        f'<span class="tw-muted"> · ● answered, ✚ failed</span></span><span class="tw-labels">{labels}</span></div>'
    )


@app.cell
def checks():
    def test_without_providers_the_line_explains_the_cascade():
        assert "the next is asked" in totals([])


if __name__ == "__main__":
    app.run()
