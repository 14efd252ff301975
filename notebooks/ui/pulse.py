"""The pulse: tells a page when to look again, and keeps its times, ids and connection dot alive in the browser."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets

from ui.joined import joined


class Pulse(anywidget.AnyWidget):
    """An invisible widget. `beat` rises when events came (at most once a second), and at least every few seconds.

    Cells that read `pulse.value` run again at each beat; nothing beats while the page is hidden.

    Args:
        since: the seq that the page has already seen.
        follow: keep a connection to the live feed; without one it only beats every `every_s` seconds.
        dot: show the state of the connection in the frame; only one pulse a page may.
        every_s: the longest time between two beats, in seconds.
        families: beat only for events of these families; for all if there are none.
    """

    _esm = joined("dom.js", "alerting.js", "more.js", "pulse.js")

    beat = traitlets.Int(0).tag(sync=True)
    since = traitlets.Int(0).tag(sync=True)
    follow = traitlets.Bool(default_value=True).tag(sync=True)
    dot = traitlets.Bool(default_value=True).tag(sync=True)
    every_s = traitlets.Float(5.0).tag(sync=True)
    families = traitlets.List(traitlets.Unicode()).tag(sync=True)
    path = traitlets.Unicode("/ws/events").tag(sync=True)

    def __init__(
        self,
        *,
        since: int = 0,
        follow: bool = True,
        dot: bool = True,
        every_s: float = 5.0,
        families: Sequence[str] = (),
    ) -> None:
        super().__init__(since=since, follow=follow, dot=dot, every_s=every_s, families=list(families))
