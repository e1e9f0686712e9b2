"""Counts of the whole campaign (HF_SER_FAULTS=all), for the table of docs/robustness.md."""

import os
from collections import defaultdict

import pytest
from campaign import save

_counts = defaultdict(lambda: {"tried": 0, "failed": 0, "skipped": 0})
_measured = defaultdict(dict)
_divided = set()  # tests that report each of their trials


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    marker = item.get_closest_marker("faults")
    report.trouble = marker.args[0] if marker and marker.args else None
    return report


@pytest.hookimpl(tryfirst=True)  # the terminal marks tests as failed if one of their subtests failed
def pytest_runtest_logreport(report):
    """Count a trial: a subtest, or a test without subtests. Errors of fixtures count as failures."""
    trouble = getattr(report, "trouble", None)
    if trouble is None:
        return
    if isinstance(report, pytest.SubtestReport):
        _divided.add(report.nodeid)
    elif report.when == "call":
        for name, value in report.user_properties:
            _measured[trouble][name] = max(value, _measured[trouble].get(name, value))
        if report.nodeid in _divided and report.passed:
            return
    elif report.passed:
        return
    counts = _counts[trouble]
    if report.skipped:
        counts["skipped"] += 1
        return
    counts["tried"] += 1
    counts["failed"] += report.failed


def pytest_sessionfinish(session):
    # Under pytest-xdist only the controller sees every report.
    if os.environ.get("HF_SER_FAULTS") == "all" and _counts and not hasattr(session.config, "workerinput"):
        save({trouble: counts | {"measured": _measured[trouble]} for trouble, counts in _counts.items()})
