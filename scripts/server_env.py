"""Write .env.local: the settings of .env with a random value in place of each development one.
`make server-env` runs this."""

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    target = ROOT / ".env.local"
    if target.exists():
        print(
            f"error: {target.name} is there already; remove it first, the server's volumes know its"
            " passwords",
            file=sys.stderr,
        )
        return 2
    lines = [
        line
        for line in (ROOT / ".env").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    lines = [
        re.sub(r"=development.*", lambda _: "=" + secrets.token_urlsafe(24).replace("-", "x"), line)
        for line in lines
    ]
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    print(f"{target.name} is written, readable by you alone; make server uses it from now on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
