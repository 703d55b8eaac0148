"""The encoder that a set carries, on whichever machine."""

from __future__ import annotations

from curator.encoders import Encoder, checksums, load_encoder, open_towers
from curator.encoders.clip import cache_folder
from curator.errors import SpaceMismatch
from curator.files import write_whole
from curator.scale.records import SetFacts
from curator.scale.storage import Storage


def open_encoder(storage: Storage, facts: SetFacts, *, threads: int = 0, gpu: bool = False) -> Encoder:
    """The encoder that a set carries, fetched once to this machine. Raises `SpaceMismatch`, `EncoderError`."""
    if not facts.towers:
        encoder = load_encoder(facts.encoder)
    else:
        folder = cache_folder() / facts.fingerprint
        towers = {name: folder / name for name in facts.towers}
        if not all(f.is_file() for f in towers.values()) or checksums(towers) != dict(facts.towers):
            folder.mkdir(parents=True, exist_ok=True)
            for name, file in towers.items():
                write_whole(file, storage.read(f"encoder/{name}"))
        encoder = open_towers(facts.encoder, folder, threads=threads, gpu=gpu)
    if encoder.fingerprint != facts.fingerprint:
        raise SpaceMismatch(
            f"'{facts.encoder}' on this machine is not the encoder that {storage.place} was begun with; nothing was "
            "written"
        )
    return encoder
