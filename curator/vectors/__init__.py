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

__all__ = [
    "Answer",
    "Engine",
    "Generation",
    "GenerationDamaged",
    "Neighbours",
    "check_generation",
    "clear_unfinished",
    "drop_generations",
    "exact_neighbours",
    "near_hashes",
    "write_generation",
]
