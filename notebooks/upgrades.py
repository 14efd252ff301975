# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Upgrades · Timmy", css_file="ui/theme.css")

with app.setup:
    from functools import partial

    import marimo as mo

    from timmy_core import open_timmy
    from timmy_core.upgrades.approval import SAME_USER
    from timmy_core.upgrades.states import MOVES
    from ui import chips, frame, proposing, reviewing, saving
    from ui.deciding import Deciding
    from ui.differing import Differing
    from ui.pulse import Pulse
    from ui.steering import who


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("upgrades", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=30, families=["upgrade"]))
    pulse
    return (pulse,)


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(Deciding(timmy, chosen=str(frame.query().get("id") or ""), by=who()))
    hands
    return (hands,)


@app.cell
def sieve():
    choice = mo.ui.anywidget(chips.Chips(chips.from_address(frame.query(), reviewing.GROUPS), reviewing.GROUPS))
    return (choice,)


@app.cell
def saving_pulse(choice, timmy):
    mo.ui.anywidget(saving.Saving(upgrades=partial(reviewing.decided, timmy, choice.widget)))


@app.cell
def state(choice, hands, pulse, timmy):
    pulse.value, hands.value["done"]
    here = reviewing.look(timmy, hands.value["chosen"], choice.value["query"])
    return (here,)


@app.cell
def headline(here):
    frame.header("Upgrades", reviewing.first_line(here), more=reviewing.notes(here))


@app.cell
def waiting(here):
    mo.Html(reviewing.waiting(here))


@app.cell
def proposal(here):
    mo.Html(proposing.whole(here))


@app.cell
def difference(timmy):
    # It depends on nothing that changes, so that what was opened stays open while the rest is drawn anew.
    lines = mo.ui.anywidget(Differing(timmy))
    lines
    return (lines,)


@app.cell
def showing(hands, here, lines):
    hands.widget.people = list(here.people)
    lines.widget.show(here.chosen)


@app.cell
def trail(here):
    mo.Html(proposing.trail(here))


@app.cell
def sifting(choice, here):
    choice if here.over or here.sifted else None


@app.cell
def decided(here):
    mo.Html(reviewing.over(here))


@app.cell
def people(here):
    mo.Html(proposing.people(here, same_user=SAME_USER))


@app.cell
def checks():
    def test_every_state_is_listed_once_and_has_words():
        assert sorted((*reviewing.WAITING, *reviewing.OVER)) == sorted(MOVES)
        assert set(reviewing.PILLS) == set(MOVES)

    def test_an_order_in_an_attribute_cannot_leave_it():
        assert '"' not in reviewing.choose("0123")

    def test_lines_that_come_and_go_are_counted():
        assert reviewing.counts(2, 1) == '<span class="tw-counts"><ins>+2</ins> <del>&minus;1</del></span>'


if __name__ == "__main__":
    app.run()
