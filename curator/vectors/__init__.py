"""Files of vectors that searches map, all-pairs work, and services elsewhere: all that is FAISS, Postgres or Qdrant."""

from curator.vectors.engine import Answer, Engine
from curator.vectors.generation import (
    Generation,
    GenerationDamaged,
    check_generation,
    clear_unfinished,
    drop_generations,
    write_generation,
)
from curator.vectors.listing import ListPlan
from curator.vectors.many import nearest_many, rows_in_blocks
from curator.vectors.neighbours import Neighbours, exact_neighbours, near_hashes
from curator.vectors.services import COLUMNS, CONDITIONS, LoadPart, Service, is_service, open_service
from curator.vectors.words import WordFile, nearest_words, stay_on_one_core

__all__ = [
    "COLUMNS",
    "CONDITIONS",
    "Answer",
    "Engine",
    "Generation",
    "GenerationDamaged",
    "ListPlan",
    "LoadPart",
    "Neighbours",
    "Service",
    "WordFile",
    "check_generation",
    "clear_unfinished",
    "drop_generations",
    "exact_neighbours",
    "is_service",
    "near_hashes",
    "nearest_many",
    "nearest_words",
    "open_service",
    "rows_in_blocks",
    "stay_on_one_core",
    "write_generation",
]
