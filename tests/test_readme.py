"""README's pictures are drawn from the tables; run `python tests/test_readme.py` to draw them anew."""

import re
from pathlib import Path

from pipeline import topology
from pipeline.core.line import LINE
from pipeline.core.machine import mermaid
from pipeline.core.turn import TURN
from pipeline.runtime import graph

README = Path(__file__).parent.parent / "README.md"


def pictures() -> dict[str, str]:
    delays = "\n".join(map(str, graph.delays(topology.ACTORS, topology.LINKS)))
    return {
        "map": f"```mermaid\n{graph.mermaid(topology.ACTORS, topology.LINKS, topology.DAEMON)}```",
        "delays": f"```\n{delays}\n```",
        "line": f"```mermaid\n{mermaid(LINE)}\n```",
        "talk": f"```mermaid\n{mermaid(TURN)}\n```",
    }


def redrawn(text: str) -> str:
    for name, picture in pictures().items():
        block = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)", re.DOTALL)
        text, count = block.subn(picture.replace("\\", r"\\"), text)
        assert count == 1, f"README has no place for the picture {name}"
    return text


def test_the_pictures_show_the_tables_of_today() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == redrawn(text), "run: python tests/test_readme.py"


if __name__ == "__main__":
    README.write_text(redrawn(README.read_text(encoding="utf-8")), encoding="utf-8")
