"""Writes the dashboards that Grafana is provisioned with: `python3 grafana/generator`. With --check it only compares."""

import json
import sys
from pathlib import Path

import changes
import deployment
import fleet
import health
import precision

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"


def main():
    stale = []
    for module in (fleet, deployment, precision, changes, health):
        made = module.board()
        path = FOLDER / f"{made.uid}.json"
        text = json.dumps(made.json(), indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what the generator gives; run python3 grafana/generator")


main()
