"""What ``run.json`` says of a run: one frozen type, and the checks of a document that somebody else wrote."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from featcache import Selection
from heads.data.fusion import FUSIONS
from heads.errors import HeadsError
from heads.files.document import is_version, parse_document
from heads.files.ranges import Range
from heads.head.kinds import HEADS
from heads.verdicts.record import VerdictRules, parse_rules

__all__ = ["RUN_FORMAT", "Producer", "RunRecord", "TrainConfig", "format_record", "parse_record"]

RUN_FORMAT = 2
_READ_FORMATS = (1, 2)
PRESETS = ("paper",)
_SEED = Range(int, 0, 2**31 - 1)
_THRESHOLD = Range(float, 0, 1)
_COUNT = Range(int, 0, 2**63 - 1)
_WIDTH = Range(int, 1, 2**20 - 1)
_SETTING = Range(float, -1e15, 1e15)
"""What any setting can be; its own range is the head's to check when it is fitted with it."""


@dataclass(frozen=True)
class TrainConfig:
    """How a head is made.

    Attributes
    ----------
    head : str
        A key of `heads.head.kinds.HEADS`.
    fusion : str
        A key of `heads.data.fusion.FUSIONS`.
    seed : int
        Of everything random.
    preset : {"paper"} or None
        Where the settings that are not given come from.
    settings : mapping
        The head's own (``dim``, ``loss``, ``lr`` …); the head checks them and has the defaults.
    """

    head: str = "mlp"
    fusion: str = "concat"
    seed: int = 0
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise HeadsError(f"unknown fusion {self.fusion!r:.80}, expected one of {', '.join(FUSIONS)}")
        _SEED.check(self.seed, "seed")
        if self.preset is not None and self.preset not in PRESETS:
            raise HeadsError(f"unknown preset {self.preset!r:.80}, expected {', '.join(PRESETS)}")


@dataclass(frozen=True)
class Producer:
    """Where the vectors of one modality come from: what was selected, and its producer's whole document."""

    selection: Selection
    document: Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """The contents of ``run.json``.

    Attributes
    ----------
    created : str
        ISO 8601, UTC.
    config : TrainConfig
    tasks : tuple of mapping
        The fields of each `Task`, class names included.
    producers : mapping of modality to Producer
        In the order of the columns.
    threshold : float
        On P(AI); a row below it is real.
    threshold_note : str or None
        Why the threshold was not chosen on the calibrating rows.
    verdicts : VerdictRules
        Maps from raw P(AI) to probabilities, and operating points beside the threshold.
    validation : mapping
        The rule of the division, its digest, a note (early runs have none), and per part the row count and the metrics.
    rows : mapping of str to int
        How many training and validation rows were used, and why others were not.
    history : tuple of mapping
        One record a training step.
    versions : mapping of str to str
        Of Python and the libraries.
    source : mapping
        ``cache`` (a path) and ``dataset``: where the rows came from.
    views : tuple of str
        Of the pictures, a random one of which each row had in each epoch (head ``mlp``; other heads had all); empty
        where that was the selected view alone.
    transductive : tuple of str
        Splits whose rows were pseudo-labelled and trained on: scores on them are not those of unseen data.
    pseudo : mapping or None
        What the pseudo-label round took.
    folds : mapping or None
        What heads beside this one, cross-fitted on train rows, say of it: see `heads.runs.crossfit`.
    files : mapping of str to str
        sha256 of every other file of the run folder, by relative path.
    """

    created: str
    config: TrainConfig
    tasks: tuple[Mapping[str, Any], ...]
    producers: Mapping[str, Producer]
    threshold: float
    threshold_note: str | None
    verdicts: VerdictRules
    validation: Mapping[str, Any]
    rows: Mapping[str, int]
    history: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str]
    source: Mapping[str, str]
    views: tuple[str, ...]
    transductive: tuple[str, ...]
    pseudo: Mapping[str, Any] | None
    folds: Mapping[str, Any] | None
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The sha256 of ``run.json``, which has the checksums of the other files; of format 1 as it would be now."""
        return hashlib.sha256(format_record(self)).hexdigest()

    @property
    def division_rule(self) -> str:
        """By which rule validation was divided: `heads.data.division.divide_validation` knows it or refuses it."""
        return str(self.validation.get("rule"))


def format_record(record: RunRecord) -> bytes:
    """Return ``run.json``."""
    fields = {name: getattr(record, name) for name in RunRecord.__dataclass_fields__}
    fields["config"] = {**vars(record.config), "settings": dict(record.config.settings)}
    fields["producers"] = {modality: asdict(producer) for modality, producer in record.producers.items()}
    fields["verdicts"] = record.verdicts.to_json()
    text = json.dumps(
        {"format": RUN_FORMAT, "kind": "heads-run", **fields}, indent=1, allow_nan=False, ensure_ascii=False
    )
    return text.encode() + b"\n"


def parse_record(data: bytes, where: str) -> RunRecord:
    """Read an untrusted ``run.json``; unknown and missing keys and wrong types are refused.

    Parameters
    ----------
    data : bytes
        The file's contents.
    where : str
        Its name, for messages.
    """
    fields = parse_document(data, where)
    if not isinstance(fields, dict) or "format" not in fields:
        raise HeadsError(f"{where} has no format version: is this the folder of a run?")
    is_known = any(is_version(fields["format"], version) for version in _READ_FORMATS)
    if not is_known or fields.get("kind") != "heads-run":
        found = f"format {fields['format']!r:.40} of kind {fields.get('kind')!r:.40}"
        raise HeadsError(f"{where} is {found}, expected format {RUN_FORMAT} of kind 'heads-run'")
    if fields["format"] == 1:
        fields = {
            "views": [],
            **fields,
            "verdicts": VerdictRules().to_json(),
            "folds": None,
        }  # the oldest runs had one view
    _check_keys(fields, {"format", "kind", *RunRecord.__dataclass_fields__}, where)
    for name, is_valid in _CHECKS.items():
        if not is_valid(fields[name]):
            raise HeadsError(f"{where} has a malformed {name}: {fields[name]!r:.80}")
    values = {name: fields[name] for name in RunRecord.__dataclass_fields__}
    return RunRecord(
        **{
            **values,
            "config": _parse_config(fields["config"], where),
            "verdicts": parse_rules(fields["verdicts"], where),
            "producers": {name: _parse_producer(name, p, where) for name, p in fields["producers"].items()},
            **{name: tuple(fields[name]) for name in ("tasks", "history", "views", "transductive")},
        }
    )


def _parse_config(fields: Mapping[str, Any], where: str) -> TrainConfig:
    _check_keys(fields, set(TrainConfig.__dataclass_fields__), f"config of {where}")
    if not (_is_text(fields["head"]) and _is_text(fields["fusion"]) and _is_settings(fields["settings"])):
        raise HeadsError(f"{where} has a malformed config: {fields!r:.80}")
    if not (fields["preset"] is None or _is_text(fields["preset"])):
        raise HeadsError(f"{where} has a malformed preset: {fields['preset']!r:.80}")
    former = HEADS[fields["head"]].former if fields["head"] in HEADS else {}
    return TrainConfig(**{**fields, "settings": {**former, **fields["settings"]}})


def _parse_producer(modality: str, fields: Any, where: str) -> Producer:
    where = f"producer {modality!r:.40} of {where}"
    if not _is_object(fields):
        raise HeadsError(f"{where} is {fields!r:.80}, expected an object")
    _check_keys(fields, set(Producer.__dataclass_fields__), where)
    selection, document = fields["selection"], fields["document"]
    if not (_is_object(selection) and _is_object(document)):
        raise HeadsError(f"{where} needs two objects, selection and document")
    _check_keys(selection, set(Selection.__dataclass_fields__), where)
    outputs, widths = selection["outputs"], selection["widths"]
    is_sound = (
        selection["modality"] == modality
        and _is_digest(selection["fingerprint"])
        and _is_text(selection["view"])
        and _is_texts(outputs)
        and isinstance(widths, list)
        and all(map(_WIDTH.holds, widths))
        and 0 < len(outputs) == len(widths)
    )
    if not is_sound:
        raise HeadsError(f"{where} has a malformed selection: {selection!r:.200}")
    return Producer(Selection(**{**selection, "outputs": tuple(outputs), "widths": tuple(widths)}), document)


def _check_keys(fields: Mapping[str, Any], expected: set[str], where: str) -> None:
    unknown, missing = sorted(set(fields) - expected), sorted(expected - set(fields))
    if unknown:
        raise HeadsError(f"{where} has an unknown key {unknown[0]!r:.80}: was it written by a newer version?")
    if missing:
        raise HeadsError(f"{where} lacks the key {missing[0]!r}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_settings(value: Any) -> bool:
    """Whether it is an object in which all numbers, at whatever depth, are such as a setting can be."""
    return isinstance(value, dict) and all(map(_is_setting, value.values()))


def _is_setting(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, str | bool) or _is_settings(value) or _SETTING.holds(value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_file_name(name: str) -> bool:
    return re.fullmatch(r"(head/)?[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is not None and name != "run.json"


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "created": _is_text,
    "config": _is_object,
    "tasks": _is_objects,
    "producers": lambda value: _is_object(value) and len(value) > 0,
    "threshold": _THRESHOLD.holds,
    "threshold_note": lambda value: value is None or _is_text(value),
    "verdicts": _is_object,
    "validation": _is_object,
    "rows": lambda value: _is_object(value) and all(map(_COUNT.holds, value.values())),
    "history": _is_objects,
    "versions": lambda value: _is_object(value) and _is_texts(list(value.values())),
    "source": lambda value: (
        _is_object(value) and set(value) == {"cache", "dataset"} and _is_texts(list(value.values()))
    ),
    "views": _is_texts,
    "transductive": _is_texts,
    "pseudo": lambda value: value is None or _is_settings(value),
    "folds": lambda value: value is None or _is_settings(value),
    "files": lambda value: (
        _is_object(value) and all(_is_file_name(name) and _is_digest(digest) for name, digest in value.items())
    ),
}
