"""`curator index`: folders of pictures → rows and vectors; incremental, resumable, one writer."""

from curator.ingest.batches import BATCH, EncodedBatch, read_batch
from curator.ingest.folders import Choice, choose_encoder, index_folders, use_space
from curator.ingest.options import IngestOptions
from curator.ingest.passes import commit, ingest

__all__ = [
    "BATCH", "Choice", "EncodedBatch", "IngestOptions", "choose_encoder", "commit", "index_folders", "ingest",
    "read_batch", "use_space",
]  # fmt: skip
