"""Make every figure of the gallery in full: `make gallery`. Names of pages can be given."""

import importlib.util
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RECORD = HERE / "figures" / "full.json"
NO_PAGES = {"run", "drawing"}


def script(name):
    """Return the script of a page; what scripts share is found beside them."""
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    spec = importlib.util.spec_from_file_location(f"gallery_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages():
    """Return the names of all pages."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_PAGES)


def known():
    """Return the numbers and times of the last runs in full, by page."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def table(rows, full, seconds):
    """Return the table of a page in Markdown, with the run times below."""
    lines = ["| | published or independent | here |", "|---|---|---|"]
    lines += [
        f"| {text} | {_number(wanted)} | {_number(found, wanted)} |"
        for text, wanted, found in rows
    ]
    known_here = {text for text, *_ in rows}
    more = [row for row in (full or {"rows": []})["rows"] if row[0] not in known_here]
    lines += [
        f"| {text}, in full | {_number(wanted)} | {_number(found, wanted)} |"
        for text, wanted, found in more
    ]
    shown = f"The numbers were computed when this page was built, in {seconds:.1f} s, at small size."
    if full:
        shown += (
            f" The figure in full took {full['seconds']:g} s of one core: `make gallery`."
        )
    return "\n".join([*lines, "", shown])


def _number(value, like=None):
    if value is None:
        return ""
    if like == 0.0:
        return f"{value:.1g}"
    return f"{float(value):.10g}"


def main():
    """Run the scripts; write their figures, and their numbers and times."""
    for name in sys.argv[1:] or pages():
        begin, work = time.perf_counter(), time.process_time()
        figure, rows = script(name).made(full=True)
        figure.savefig(HERE / "figures" / f"{name}.png", dpi=130)
        entry = {
            "seconds": round(time.process_time() - work, 1),
            "rows": [
                [text, None if wanted is None else float(wanted), float(got)]
                for text, wanted, got in rows
            ],
        }
        print(
            f"{name:14} {time.perf_counter() - begin:6.1f} s, {entry['seconds']} s of CPU",
            flush=True,
        )
        RECORD.write_text(
            json.dumps(dict(sorted((known() | {name: entry}).items())), indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
