# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Live · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from ui import frame, tasks
    from ui.live import LiveFeed
    from ui.pulse import Pulse
    from ui.steering import who
    from ui.tasking import Tasking

    REPLAY = 200


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("live", timmy)


@app.cell
def hands(timmy):
    tasked = mo.ui.anywidget(Tasking(timmy, by=who()))
    return (tasked,)


@app.cell
def headline(tasked, timmy):
    tasked.value["beat"]
    frame.header("Live", tasks.first_line(timmy), plain="Tasks and every event, as they happen; newest first.")


@app.cell
def pulse():
    # The feed below tells the connection dot how it is, so the pulse needs no connection of its own.
    mo.ui.anywidget(Pulse(follow=False, every_s=3600))


@app.cell
def work(tasked):
    tasked


@app.cell
def feed(timmy):
    mo.ui.anywidget(LiveFeed(timmy, since=replay_from(timmy.events.head()[0])))


@app.function
def replay_from(head):
    """Return the cursor that shows the last few events first."""
    return max(0, head - REPLAY)


@app.cell
def checks():
    def test_a_short_log_is_replayed_whole():
        assert replay_from(3) == 0

    def test_a_long_log_starts_near_its_head():
        assert replay_from(1000) == 1000 - REPLAY


if __name__ == "__main__":
    app.run()
