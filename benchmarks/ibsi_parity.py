"""Our features beside IBSI's consensus values. `python -m benchmarks.ibsi_parity [--rows]`.

Prints how many values of each family and configuration agree, with `--rows` every value, and on the last line the
counts as JSON. Needs the phantoms in `../shared/data/ibsi`.
"""

import argparse
import json

from benchmarks.parts.ibsi import CONFIGURATIONS, compare
from sparra.radiology.radiomics.region import REGION_IBSI_IDS


def main(rows_too: bool) -> None:
    """Compare every configuration and print the tables."""
    agreeing, compared, missing = 0, 0, 0
    print("| configuration |", " | ".join(REGION_IBSI_IDS), "| not computed |")
    print("|---" * (len(REGION_IBSI_IDS) + 2) + "|")
    details = []
    for name in CONFIGURATIONS:
        rows, left = compare(name)
        cells = []
        for family in REGION_IBSI_IDS:
            own = [row for row in rows if row.family == family]
            cells.append(f"{sum(row.agrees for row in own)}/{len(own)}")
        print(f"| {name} |", " | ".join(cells), f"| {len(left)} |")
        agreeing += sum(row.agrees for row in rows)
        compared += len(rows)
        missing += len(left)
        details += [(name, row) for row in rows if rows_too or not row.agrees]
    for name, row in details:
        print(f"{name:15} {row.tag:32} {row.ibsi_id} {row.found:.6g} consensus {row.expected:.6g} ± {row.allowed:.2g}")
    print(json.dumps({"compared": compared, "agreeing": agreeing, "not_computed": missing}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", action="store_true", help="print every value")
    main(parser.parse_args().rows)
