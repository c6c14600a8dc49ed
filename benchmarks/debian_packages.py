"""Files that Debian packages carry: apt downloads the package, and it is read as an archive.

Nothing of a package is installed or run. Its digest decides whether it is the one meant; the
package itself is kept in the user's cache.
"""

import io
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from training.errors import UnusableInput
from training.files import read_file, sha256_of, write_bytes
from training.packages import cache_folder


@dataclass(frozen=True, slots=True)
class Package:
    """A binary package of a Debian archive, by its digest."""

    name: str
    version: str
    sha256: str


def read_package(package: Package, folder: str, advice: str) -> dict[str, bytes]:
    """The files below `folder` (as installed, without the first slash) by name, sorted.

    Raises UnusableInput, which ends with `advice`, where the package cannot be had.
    """
    path = cache_folder() / "packages" / f"{package.name}-{package.version}.deb"
    if not (path.is_file() and sha256_of(read_file(path)) == package.sha256):
        write_bytes(path, _download(package, advice))
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member)  # None where it is no file
            if file is not None and member.name.startswith(f"./{folder}/"):
                found[Path(member.name).name] = file.read()
    return dict(sorted(found.items()))


def _download(package: Package, advice: str) -> bytes:
    what = f"{package.name}={package.version}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = ["apt-get", "download", "--quiet", what]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            reason = (done.stderr.strip().splitlines() or ["no package came"])[-1]
        except FileNotFoundError:
            reason = "there is no apt-get"
        found = list(Path(folder).glob("*.deb"))
        if not found:
            raise UnusableInput(f"apt could not download {what} ({reason}); {advice}")
        data = read_file(found[0])
    if sha256_of(data) != package.sha256:
        raise UnusableInput(f"{what}: expected SHA-256 {package.sha256}, got another; {advice}")
    return data
