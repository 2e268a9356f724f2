"""antiphon-model-file: has one model file in a folder, by its sha256. For an init container before a model server."""

import shutil
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from .errors import ConfigError
from .weights import sha256_of

USAGE = "usage: antiphon-model-file PATH SHA256 [URL]"


def have(path: Path, sha256: str, url: str = "") -> str:
    """Verifies the file at `path`, or downloads it from `url` (https, http or file), and says which.

    Raises ConfigError when it is neither there nor to be had, or is not what the pin says. A download that fails leaves
    nothing behind.
    """
    if path.is_file():
        if (found := sha256_of(path)) != sha256:
            raise ConfigError(
                f"{path} does not match its pin: sha256 is {found}, not {sha256}; delete it to have it again"
            )
        return "verified"
    if not url:
        raise ConfigError(f"{path} is missing, and no URL was given to download it from: put it into the model cache")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the file appears whole or not at all; each of several pods has its own.
        with TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
            partial = Path(folder, path.name)
            with urllib.request.urlopen(url) as source, partial.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if (found := sha256_of(partial)) != sha256:
                raise ConfigError(f"{url} does not match its pin: sha256 is {found}, not {sha256}")
            partial.replace(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be downloaded from {url}: {error}") from error
    return "downloaded"


def main() -> None:
    match sys.argv[1:]:
        case [path, sha256, *url] if len(url) <= 1:
            try:
                print(f"{path}: {have(Path(path), sha256.lower(), *url)}")
            except ConfigError as error:
                print(f"antiphon-model-file: {error}", file=sys.stderr)
                sys.exit(2)
        case _:
            print(USAGE, file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
