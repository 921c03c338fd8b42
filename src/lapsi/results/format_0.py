"""Runs of lapsi 0.1: a column had a help text only, no file was listed, and data stood as options of the command line."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from lapsi.results.columns import COLUMNS, TRAVELLING, source_column
from lapsi.settings.engine import ENGINES
from lapsi.settings.model import EACH
from lapsi.settings.objective import PAPER_DECAY
from lapsi.settings.settings import PARTS, settings_from_dict

SAME = ("features", "labels", "ids", "images", "texts", "group", "reference_labels", "class_names")


def from_format_0(raw: dict[str, Any]) -> dict[str, Any]:
    """What run.json of format 0 holds, in format 1.

    Raises:
        ValueError: when it holds no columns, or no options where these should be.
    """
    helps, call = raw.get("columns"), raw.get("call", {})
    if not isinstance(helps, dict) or not isinstance(call, dict):
        raise ValueError("columns or call of run.json is no object")
    known, travelled = COLUMNS | TRAVELLING, source_column("").help
    columns = {
        name: known[name] if name in known and text != travelled else source_column(name) for name, text in helps.items()
    }
    described = {name: asdict(column) for name, column in columns.items()}
    data = data_of_call(call) if call else {}
    return {**raw, "columns": described, "files": {}, "data": data, "settings": nested_settings(raw.get("settings"))}


def nested_settings(flat: Any) -> dict[str, Any]:
    """`Settings.to_dict` from the flat settings; what is missing is what it was by default.

    Raises:
        ValueError: when they are no object.
    """
    if not isinstance(flat, dict):
        raise ValueError("settings of run.json is no object")
    parts = {name: [each.name for each in fields(kind)] for name, kind in PARTS.items()}
    flat = {"weight_decay": PAPER_DECAY, "standardize": EACH} | flat
    nested = {name: {each: flat[each] for each in names if each in flat} for name, names in parts.items()}
    engine = "retrain" if flat.get("engine") == "retrain" or flat.get("recipe") is not None else "newton"
    options = {each.name: flat[each.name] for each in fields(ENGINES[engine]) if flat.get(each.name) is not None}
    return settings_from_dict({**nested, "engine": {"name": engine, **options}, "curvature": flat.get("curvature")}).to_dict()


def data_of_call(call: dict[str, Any]) -> dict[str, Any]:
    """`Provenance.data` from the options of `lapsi score`; what was not given is left to its default."""
    columns = {name: call.get(name) for name in SAME}
    columns |= {"prefix": call.get("feature_prefix"), "split": call.get("split_column"), "keep": _words(call.get("keep"))}
    extractor = {name: call.get(name) for name in ("model", "pooling", "normalize", "max_tokens", "device")}
    extractor |= {"batch_size": call.get("embed_batch_size"), "dtype": call.get("embed_dtype")}
    corruption = {name: call.get(name) for name in ("flip_labels", "human_labels", "lorem_ipsum", "noise")}
    corruption |= {"noise_classes": _words(call.get("noise_classes")), "seed": call.get("corruption_seed")}
    plain = {name: call.get(name) for name in ("source", "split", "data_dir", "cache", "skip_bad")}
    parts = {"columns": columns, "extractor": extractor, "corruption": corruption}
    return _given(plain) | {name: _given(part) for name, part in parts.items()}


def _words(text: Any) -> Any:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
