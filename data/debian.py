"""Recipe `photos`: the photographs in Debian's free-licence wallpaper packages, without root and without an account."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from data.candidates import Candidate, Harvest, Unreachable
from lua_lightning.pairs.photos import Skipped

APT = ["apt-get", "-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
COMMAND_TIMEOUT = 900.0


class Wallpaper(NamedTuple):
    """A photograph among a package's wallpapers, as a glob pattern; the largest of the files it matches."""

    package: str
    pattern: str
    author: str
    licence: str


LOMIRI_16 = "lomiri-wallpapers-16.04"
LOMIRI_20 = "lomiri-wallpapers-20.04"
MATE = "mate-backgrounds"
PLASMA = "plasma-workspace-wallpapers"

# Authors and licences as the packages' own debian/copyright gives them; for plasma, each wallpaper's metadata.json.
# What is not listed is artwork, or a smooth composition that no upscaler could learn from.
PHOTOGRAPHS = (
    Wallpaper(LOMIRI_16, "**/Bridge_by_Sander_Klootwijk.jpg", "Sander Klootwijk", "CC-BY-SA-4.0"),
    Wallpaper(LOMIRI_16, "**/Dragonfly_by_Bolly.jpg", "Bolly", "CC-BY-SA-4.0"),
    Wallpaper(LOMIRI_16, "**/Picture_0B_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/Picture_1A_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/Wine_by_Jakkub_Mede.jpg", "Jakub Mede", "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/aitzgorri_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/free_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0"),
    Wallpaper(LOMIRI_16, "**/friends_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/greentock_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0"),
    Wallpaper(LOMIRI_16, "**/life_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/picosdeeuropa_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    Wallpaper(LOMIRI_16, "**/seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", "CC0-1.0"),
    Wallpaper(LOMIRI_16, "**/sunset_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    Wallpaper(LOMIRI_20, "**/Kleiber_by_Lukas_Baubkus.jpg", "Lukas Baubkus", "CC-BY-SA-3.0"),
    Wallpaper(MATE, "**/nature/Aqua.jpg", "Charles Barbin", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/Blinds.jpg", "Lennart Poettering, Andrea Cimitan", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/Dune.jpg", "Marco Cogoni, Hylke Bons", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/FreshFlower.jpg", "Jens Ansorg", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/Garden.jpg", "Charles Barbin", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/GreenMeadow.jpg", "Timothy Schellhase, Lapo Calamandrei", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/LadyBird.jpg", "Charles Barbin", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/RainDrops.jpg", "blackcombwhistler07", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/Storm.jpg", "Sergey Nazarov", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/TwoWings.jpg", "Charles Barbin, Hylke Bons", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/Wood.jpg", "Jean-François Fortin Tam", "GPL-2.0-or-later"),
    Wallpaper(MATE, "**/nature/YellowFlower.jpg", "Charles Barbin", "GPL-2.0-or-later"),
    Wallpaper(PLASMA, "**/BytheWater/contents/images/*", "Maciej Wiklo", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/ColdRipple/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/ColorfulCups/contents/images/*", "Dmitri Popov", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/DarkestHour/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/EveningGlow/contents/images/*", "Ian Hex", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/FallenLeaf/contents/images/*", "Martin Klapetek", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/Grey/contents/images/*", "Sigi Sagi", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/Kite/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/OneStandsOut/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/Path/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
    Wallpaper(PLASMA, "**/summer_1am/contents/images/*", "Risto Saukonpää", "LGPL-3.0-only"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: which photographs there are is a table, not a choice."""


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return nothing beside the shared settings."""
    return {}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """Fetch and unpack the packages below `work` and look up the photographs of the table.

    Raises:
        Unreachable: There is no apt-get or dpkg-deb here, or not one of the packages can be fetched.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unreachable(f"{tool} is not installed")
    archives = _download(sorted({photograph.package for photograph in PHOTOGRAPHS}), work)
    roots = {package: _unpack(archive, work / package) for package, archive in archives.items()}
    harvest = Harvest()
    for photograph in PHOTOGRAPHS:
        below = photograph.pattern.removeprefix("**/")
        source = f"debian:{photograph.package}/{below}"
        if photograph.package not in archives:
            harvest.skipped.append(Skipped(source, "package not available: apt-get cannot download it here"))
            continue
        path = _largest(roots[photograph.package], photograph.pattern)
        if path is None:
            harvest.skipped.append(
                Skipped(source, f"not in the package: looked in {archives[photograph.package].name}")
            )
            continue
        inside = path.relative_to(roots[photograph.package])
        source = f"debian:{unquote(archives[photograph.package].stem)}/{inside.as_posix()}"
        name = below.split("/")[0] if below.endswith("*") else path.stem
        harvest.candidates.append(Candidate(path, source, photograph.licence, photograph.author, name))
    return harvest


def _download(packages: list[str], work: Path) -> dict[str, Path]:
    """Return the archive of each package that can be had; where some cannot, refresh apt's lists once and try again."""
    archives: dict[str, Path] = {}
    complaint = ""
    for attempt in range(2):
        missing = [package for package in packages if package not in archives]
        if missing and attempt:
            _run([*APT, "update"], work)  # needs root; where it is refused, the second attempt says what is wrong
        for package in missing:
            refusal = _run([*APT, "download", package], work)
            archive = next(work.glob(f"{package}_*.deb"), None)
            if archive and not refusal:
                archives[package] = archive
            complaint = refusal or complaint
    if not archives:
        raise Unreachable(f"apt-get cannot download them: {complaint or 'no reason given'}")
    return archives


def _unpack(archive: Path, folder: Path) -> Path:
    complaint = _run(["dpkg-deb", "-x", str(archive), str(folder)], archive.parent)
    if complaint:
        raise Unreachable(f"dpkg-deb cannot unpack {archive.name}: {complaint}")
    return folder


def _run(command: list[str], folder: Path) -> str:
    """Run a command in `folder` and return what it complained of, empty when it succeeded."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("W: ")]
    return lines[-1].removeprefix("E: ") if lines else f"exit status {done.returncode}"


def _largest(root: Path, pattern: str) -> Path | None:
    files = {path.resolve() for path in root.glob(pattern) if path.is_file()}
    inside = sorted(path for path in files if path.is_relative_to(root))  # a link may lead out of the package
    return max(inside, key=lambda path: path.stat().st_size, default=None)
