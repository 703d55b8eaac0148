"""`curator index`: folders of pictures → rows and vectors; incremental, resumable, one writer."""

from curator.ingest.folders import Choice, choose_encoder, index_folders, use_space
from curator.ingest.passes import ingest
from curator.ingest.plan import IngestOptions
from curator.ingest.work import BATCH

__all__ = ["BATCH", "Choice", "IngestOptions", "choose_encoder", "index_folders", "ingest", "use_space"]
