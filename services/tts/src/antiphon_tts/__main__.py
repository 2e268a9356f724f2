"""`antiphon-tts`, or `python -m antiphon_tts`."""

from antiphon_runtime.server import run

from .service import SERVICE, build
from .settings import read


def main() -> None:
    run(read, SERVICE, build)


if __name__ == "__main__":
    main()
