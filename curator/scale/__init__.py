"""Beyond one machine: a set of shards on any storage, made, deduplicated and chosen from by processes or a cluster."""
