"""FAISS: files of vectors that searches map, and all-pairs work. The only room with `faiss`."""

from curator.vectors.engine import Answer, Engine
from curator.vectors.generation import (
    Generation,
    GenerationDamaged,
    check_generation,
    clear_unfinished,
    drop_generations,
    write_generation,
)
from curator.vectors.neighbours import Neighbours, exact_neighbours, near_hashes
from curator.vectors.words import WordFile, nearest_words, stay_on_one_core

__all__ = [
    "Answer",
    "Engine",
    "Generation",
    "GenerationDamaged",
    "Neighbours",
    "WordFile",
    "check_generation",
    "clear_unfinished",
    "drop_generations",
    "exact_neighbours",
    "near_hashes",
    "nearest_words",
    "stay_on_one_core",
    "write_generation",
]
