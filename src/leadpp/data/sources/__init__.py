"""The layouts in which photographs come: each reader turns a folder, as downloaded, into raw records."""

from collections.abc import Callable, Mapping
from pathlib import Path

from leadpp.data.raw import RawData
from leadpp.data.sources.aircraft import read_aircraft
from leadpp.data.sources.cars import read_cars
from leadpp.data.sources.cub import read_cub
from leadpp.data.sources.dogs import read_dogs
from leadpp.data.sources.folder import read_folder

READERS: Mapping[str, Callable[[Path], RawData]] = {
    "cub": read_cub,
    "cars": read_cars,
    "aircraft": read_aircraft,
    "dogs": read_dogs,
    "folder": read_folder,
}
"""Reader of each kind of source that ``prepare`` knows."""

__all__ = ["READERS", "read_aircraft", "read_cars", "read_cub", "read_dogs", "read_folder"]
