"""The layouts in which photographs come: each reader turns a folder, or archives, into raw records."""

from collections.abc import Callable, Mapping
from pathlib import Path

from leadpp.data.raw import RawData
from leadpp.data.sources.aircraft import read_aircraft
from leadpp.data.sources.cars import read_cars
from leadpp.data.sources.cub import read_cub
from leadpp.data.sources.dogs import read_dogs
from leadpp.data.sources.folder import read_folder
from leadpp.data.sources.shards import read_shards

READERS: Mapping[str, Callable[[Path], RawData]] = {
    "cub": read_cub,
    "cars": read_cars,
    "aircraft": read_aircraft,
    "dogs": read_dogs,
    "folder": read_folder,
    "shards": read_shards,
}
"""Reader of each kind of source that ``prepare`` knows."""

__all__ = ["READERS", "read_aircraft", "read_cars", "read_cub", "read_dogs", "read_folder", "read_shards"]
