"""The order of the end-to-end tests: processes take whole files, and one that took a long file last would run alone."""

LONGEST = ["test_relay.py", "test_draw_commitments.py", "test_postgres_faults.py", "test_audit_crash.py", "test_priority.py"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
