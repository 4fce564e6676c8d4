"""The page of all recorded runs: what each came to, its picture and its command.

    python -m genfuse_bench.systems_page       writes bench/results/systems/README.md

A test holds the committed page against the records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genfuse.data.atomic import atomic_path
from genfuse.systems.registry import NAMES

RECORDS = Path(__file__).parents[1] / "results" / "systems"
HEAD = """# What the systems came to

Each run by one command, from its seed, on a processor shared with other work. The records beside this page have
every setting (`python -m genfuse_bench.system_record RUN COMMAND` writes one, `python -m genfuse_bench.systems_page`
this page). Distances are by the shipped encoder, of 1,000 samples; "of halves of the data" is what two halves of the
real data have.
"""


def page(folder: Path = RECORDS) -> str:
    """Markdown, systems in the order of `genfuse systems`."""
    found = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    found.sort(key=lambda each: (NAMES.index(each[1]["system"]), each[0]))
    return HEAD + "".join(_section(folder, name, record) for name, record in found)


def _section(folder: Path, name: str, record: dict[str, Any]) -> str:
    minutes = max(1, round(record["seconds"] / 60))
    lines = [
        f"\n## {name}\n",
        f"`{record['command']}`: {record['steps']:,} steps in {minutes} min, {record['machine']}.\n",
        "| | |\n|---|---|",
        *(f"| {key.replace('_', ' ')} | {_shown(value)} |" for key, value in record["measured"].items()),
    ]
    if steps := record.get("over_steps"):
        walk = ", ".join(f"{each['fid']:g} after {each['step']:,}" for each in steps)
        lines.append(f"| fid over the steps | {walk} |")
    if names := record.get("rows"):
        lines.append(f"| rows of the picture | {'; '.join(names)} |")
    if (folder / f"{name}.png").exists():
        lines.append(f"\n![samples of {name}]({name}.png)")
    elif (folder / f"{name}.txt").exists():
        text = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()[:8]
        lines.append("\n```\n" + "\n".join(text) + "\n```")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def main() -> None:
    """Write the page beside the records."""
    with atomic_path(RECORDS / "README.md") as temporary:
        temporary.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
