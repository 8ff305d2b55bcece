"""Holds the dashboards against Grafana's published types: what they do not know would be passed over in silence.

Each part is read into Grafana's type and written again. Whatever is lost or altered on the way has a wrong name, a wrong
word or a wrong place.
"""

import importlib
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.models import common, dashboard, prometheus

FOLDER = Path(__file__).resolve().parent / "dashboards"

# The type of a panel's options and of its custom fields, by its kind.
FIELDS = {"timeseries": common.GraphFieldConfig, "table": common.TableFieldOptions}

# Read by Grafana's Prometheus data source itself, which the types of a dashboard say nothing of.
OF_ANNOTATIONS = {"expr", "step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}


def plain(value):
    """What is written as JSON, with numbers of one kind."""
    if hasattr(value, "to_json"):
        value = value.to_json()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def lost(before, after, place):
    """Every place where `after` does not have what `before` has."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                # What is empty is left out.
                if value not in (None, "", [], {}):
                    yield f"{place}.{key} is unknown"
            else:
                yield from lost(value, after[key], f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{place}[{index}]")
    elif before != after:
        yield f"{place} is {before!r} and was read as {after!r}"


def check(kind, value, place):
    try:
        yield from lost(value, plain(kind.from_json(value)), place)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{place}: {error!r}"


def check_panel(panel, place):
    kind = panel["type"]
    module = importlib.import_module(f"grafana_foundation_sdk.models.{kind.replace('-', '')}")
    if hasattr(module, "Options"):
        yield from check(module.Options, panel["options"], f"{place}.options")
    fields = FIELDS.get(kind) or getattr(module, "FieldConfig", None)
    configured = panel["fieldConfig"]
    custom = dict(configured["defaults"].get("custom", {}))
    for override in configured["overrides"]:
        for one in override["properties"]:
            path = one["id"].split(".")
            if path[0] == "custom":
                custom[path[1]] = one["value"]
                yield from check(fields, custom, f"{place}.overrides[{override['matcher']['options']}]")
            else:
                yield from check(dashboard.FieldConfig, {path[0]: one["value"]}, f"{place}.overrides.{one['id']}")
    if custom:
        yield from check(fields, custom, f"{place}.custom")
    for index, target in enumerate(panel["targets"]):
        yield from check(prometheus.Dataquery, target, f"{place}.targets[{index}]")


def check_board(board):
    place = board["uid"]
    bare = dict(board)
    bare["annotations"] = {"list": [
        {key: value for key, value in one.items() if key not in OF_ANNOTATIONS and key != "target"}
        for one in board["annotations"]["list"]]}
    yield from check(dashboard.Dashboard, bare, place)
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield from check_panel(panel, f"{place} / {panel['title']}")


def main():
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    found = [fault for board in boards for fault in check_board(board)]
    if found or not boards:
        sys.exit("\n".join(found or ["there are no dashboards"]))
    # A check that finds nothing wrong must find what is.
    for where, what in (("panels", {"gridPosition": {}, "repeatRow": 1}), ("links", {"keepTimes": True})):
        spoilt = json.loads(json.dumps(boards[0]))
        spoilt[where][0] |= what
        if not list(check_board(spoilt)):
            sys.exit(f"the check is blind: it passes {what} in {where}")
    print(f"{len(boards)} dashboards, as Grafana's types have them")


main()
