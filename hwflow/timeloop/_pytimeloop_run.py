"""Run by the interpreter that has pytimeloop, in the run's folder: `timeloop-model|timeloop-mapper FILE ...`.

Writes the files that the executable of that name would write. Imports nothing of hwflow, which that interpreter may lack.
"""

import sys
from pathlib import Path

from pytimeloop.app import MapperApp, ModelApp
from pytimeloop.config import Config

_RESULTS = {
    "stats.txt": "stats_string",
    "map+stats.xml": "xml_mapping_stats_string",
    "map.yaml": "mapping_yaml_string",
    "map.txt": "mapping_string",
}


def main(tool: str, files: list[str]) -> None:
    """Run one tool on input files in the working directory."""
    text = "\n".join(Path(name).read_text(encoding="utf-8") for name in files)
    app = {"timeloop-mapper": MapperApp, "timeloop-model": ModelApp}[tool]
    result = app(Config(text, "yaml"), ".", tool).run()
    for suffix, attribute in _RESULTS.items():
        if hasattr(result, attribute):
            Path(f"{tool}.{suffix}").write_text(getattr(result, attribute), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
