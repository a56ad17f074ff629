"""Where the scripts lie that call the commands."""

from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
