"""`croissant.json`: the export described as MLCommons Croissant 1.0.

Every file that is no single picture has its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.files import sha256_of
from curator.selection.export.items import write_text
from curator.texts import to_json

_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path", "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
_TYPES = {"rank": "sc:Integer", "width": "sc:Integer", "height": "sc:Integer", "value": "sc:Float"}
_FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".npy": "application/octet-stream",
}


def write_croissant(folder: Path, name: str, manifest: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Describe the export in `folder`. The pictures' own digests are the column `sha256` of `images.csv`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in _FORMATS and p.name != "croissant.json")
    distribution = [
        {
            "@type": "cr:FileObject", "@id": p.relative_to(folder).as_posix(), "name": p.relative_to(folder).as_posix(),
            "contentUrl": p.relative_to(folder).as_posix(), "encodingFormat": _FORMATS[p.suffix],
            "sha256": sha256_of(p),
        }
        for p in files
    ]  # fmt: skip
    fields = [
        {
            "@type": "cr:Field", "@id": f"images/{column}", "name": column, "dataType": _TYPES.get(column, "sc:Text"),
            "source": {"fileObject": {"@id": "images.csv"}, "extract": {"column": column}},
        }
        for column in columns
    ]  # fmt: skip
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"The selection '{name}' of {manifest['count']} images, made by curator; "
        "recipe and digests are in manifest.json.",
        "version": "1.0.0",
        "distribution": distribution,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}],
    }
    write_text(folder / "croissant.json", to_json(described, ensure_ascii=False, indent=1) + "\n")
