"""What is said in the sample: a small bicycle workshop with a machine of its own. No name in it is anybody's."""

from __future__ import annotations

from typing import Final

PLACES: Final = (
    "the front wheel",
    "the gear hub",
    "a cargo bike",
    "the disc brake",
    "an old steel frame",
    "the battery",
)
GOODS: Final = ("brake pads", "inner tubes", "chains", "saddles", "gear cables", "lamps")

# Each has a {place} or a {goods} or neither; answers are as a model would give them.
ASKED: Final[tuple[tuple[str, str], ...]] = (
    (
        "How do I true {place}?",
        (
            "Turn it slowly past a fixed point, find where it leaves the line, and tighten the spokes of "
            "the other side a quarter turn at a time. Check the height after every round. Stop when it "
            "stays within half a millimetre."
        ),
    ),
    (
        "What should I check first on {place}?",
        (
            "Look for play, then for cracks, then for rust. Play shows when you rock it by hand with the "
            "bicycle on the stand. Write down what you find before you take anything apart."
        ),
    ),
    ("How many {goods} did we use last month?", "The notes name 34. That is six more than in the month before."),
    (
        "Write a short offer for an inspection of {place}.",
        (
            "Inspection with a written report, wear parts listed with prices, ready the next working day: "
            "38 euro. Repairs are done only after you have agreed to them."
        ),
    ),
    (
        "Which supplier has {goods} in stock?",
        (
            "The list from Monday says that Nordlicht has them in stock and Kette & Sohn within three "
            "days. Nordlicht is dearer by about four percent."
        ),
    ),
    (
        "Sum up what we agreed about {goods}.",
        "Order when fewer than ten are left, never more than forty at once, and compare two suppliers first.",
    ),
    (
        "Explain to a customer why {place} squeaks.",
        (
            "It squeaks because something dry rubs: dust in the pads, or a surface that was touched with oil. Cleaning "
            "takes ten minutes and costs nothing within a month of the last service."
        ),
    ),
    ("Translate 'ready for collection on Friday' into German.", "Am Freitag abholbereit."),
    (
        "Draft a reminder for an invoice that is two weeks late.",
        (
            "Dear customer, our invoice of the 3rd is still open. Perhaps it was overlooked; please pay it"
            " by Friday. If you already have, disregard this note. Thank you."
        ),
    ),
    (
        "What is a fair price for mending a puncture?",
        "Between 12 and 18 euro with a new tube, depending on the wheel. You charged 15 the last five times.",
    ),
    (
        "Plan the workshop's week: four inspections, two wheel builds, one e-bike.",
        (
            "Monday: two inspections. Tuesday: first wheel. Wednesday: e-bike, as its part arrives on "
            "Tuesday. Thursday: two inspections. Friday: second wheel, then collection. Keep Friday "
            "afternoon free for what took longer."
        ),
    ),
    ("What does torque of 5 Nm mean on a stem bolt?", "Half a kilogram at one metre, or five at ten centimetres."),
    (
        "Is it worth repairing {place} on a bicycle of 150 euro?",
        "Up to about 60 euro, yes. Beyond that say so to the customer first; most then choose a used one.",
    ),
    ("Make a list of tools for {place}.", "Stand, spoke key, gauge, cone spanners 13 to 17, grease, clean cloth."),
    (
        "Why did the router ask another model this morning?",
        "The first one refused the connection, so its circuit opened and the next one answered until it was back.",
    ),
)

FACTS: Final[tuple[tuple[str, str], ...]] = (
    ("The workshop opens at 9:00 from Tuesday to Saturday.", "opening hours"),
    ("An inspection costs 38 euro.", "price of an inspection"),
    ("Mending a puncture costs 15 euro with a new tube.", "price of a puncture"),
    ("Nordlicht delivers on Wednesdays, Kette & Sohn on Fridays.", "delivery days"),
    ("Ann prefers short answers without greetings.", "how Ann wants answers"),
    ("The torque key is kept in the third drawer.", "where the torque key is"),
    ("Customers are told by message when a bicycle is ready.", "how customers are told"),
    ("Order brake pads when fewer than ten are left.", "when to order"),
)
LATER: Final = ("An inspection costs 42 euro.", "price of an inspection")

DOCUMENT: Final = """\
House rules of the workshop

1. Nothing is taken apart before the customer has agreed to the price.
2. Every bicycle gets a tag with name, date and what was agreed.
3. Parts that were replaced are kept for two weeks.
4. Batteries are charged only while somebody is in the room.
5. The stand is cleaned in the evening; tools go back to where they belong.
6. What an agent writes to a customer is read by a person before it is sent.
"""

SOLD: Final = (
    "puncture, front",
    "inspection",
    "new chain",
    "brake pads, pair",
    "lamp, fitted",
    "wheel trued",
    "saddle",
)
BOUGHT: Final = ("translation of a manual", "spare part search", "weather for the tour", "map tiles", "parts catalogue")

# What is asked of the swarm: the text, what is handed in, what an agent has to be able to do, and a tool that it uses.
TASKS: Final[tuple[tuple[str, str, tuple[str, ...], tuple[str, str] | None], ...]] = (
    (
        "Sum up this week's repairs in five lines.",
        "Nine punctures.\nFour inspections.\nTwo wheels.\nOne e-bike.\nNothing is left over.", (), None,
    ),
    (
        "Draft a text for the sale of {goods}.",
        "Until Saturday all {goods} cost fifteen percent less. Come by between nine and six.", ("draft",), None,
    ),
    (
        "Compare the prices of {goods} at both suppliers.",
        "Kette & Sohn is cheaper by 2.50 euro for ten; Nordlicht delivers two days earlier.", ("analysis",),
        ("calculate", '{"sum": "10 * 4.20 - 10 * 3.95"}'),
    ),
    (
        "Write a function that sums a column of a CSV file.",
        "def total(rows, key):\n    return sum(float(row[key]) for row in rows)", ("code",), None,
    ),
    (
        "How many tasks did the swarm complete so far?",
        "The table of tasks says so; see the figure above.", ("sql",),
        ("query_tables", '{"sql": "SELECT state, count(*) AS tasks FROM tasks GROUP BY state"}'),
    ),
    (
        "Why were there more punctures than last month?",
        "38 against 29: the street by the canal was mended with gravel.", ("analysis",),
        ("query_tables", '{"sql": "SELECT punctures FROM workshop"}'),
    ),
    ("Translate the house rules into plain English.", "Ask before you spend. Tag every bicycle.", (), None),
)  # fmt: skip
