"""The counts of the last campaign: those of the docs, for every trouble, without a failure."""

import json

from campaign import COUNTS, PAGE, page


def test_the_docs_have_the_table_of_the_last_campaign():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/faults/campaign.py"


def test_every_trouble_was_tried_and_survived(request):
    counted = json.loads(COUNTS.read_text(encoding="utf-8"))["troubles"]
    markers = [item.get_closest_marker("faults") for item in request.session.items]
    assert {marker.args[0] for marker in markers if marker} <= counted.keys()
    assert counted and all(counts["tried"] > 0 and counts["failed"] == 0 for counts in counted.values())
