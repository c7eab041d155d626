"""The model card of a run: Markdown, with a front matter in YAML for model hubs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from heads.commands.card_figures import describe_figures, plain, table
from heads.commands.render import vectors_of
from heads.data.tasks import joint_tasks

if TYPE_CHECKING:
    from heads.evaluation.report_file import ReportFile
    from heads.runs.record import Producer
    from heads.runs.run import Run
    from heads.verdicts.points import Guarantee

__all__ = ["build_card"]

_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_CALLED = {"fpr": "real pictures called AI", "fnr": "AI pictures called real"}
_LIMITS = """\
- A verdict on a picture by a generator that is not listed above may be wrong with confidence; so may one on a picture
  that was edited, resized or recompressed otherwise than those of the data, or comes from elsewhere.
- A guarantee is of pictures like those of the rows that it was made on, in the view that is named, and of each
  operating point by itself. Of other pictures nothing is promised. Without a guarantee an operating point promises
  nothing.
- Probabilities are at the share of AI that is named. Where AI pictures are rarer, more of those that are called AI are
  real; `--prior` moves probabilities, not verdicts.
- Nobody should be accused by a verdict alone."""
_NOVELTY = {
    True: "- Verdicts have `novelty`, a p-value of being like the pictures of the data: where it is 0.01 or less they "
    "are said to be unlike, and `--abstain novel` makes them unsure. It does not notice all that is unlike.",
    False: "- The run cannot tell whether a picture is like those of the data.",
}


def build_card(run: Run, *, title: str, trained_digest: str, reports: Sequence[ReportFile] = ()) -> str:
    """Return the card of a run as it is given away.

    Parameters
    ----------
    run : Run
        What `heads.runs.hub_folder.prepare_run` returned.
    title : str
    trained_digest : str
        Digest of the run before: log entries and reports name it.
    reports : sequence of ReportFile
        Of that run.
    """
    sections = {
        "Data": _data(run),
        "Vectors": _vectors(run),
        "Operating points": _points(run),
        "Figures": describe_figures(reports),
        "What it does not know": f"{_LIMITS}\n{_NOVELTY[run.likeness is not None]}",
        "Use": _use(run),
        "What is here": _here(run, trained_digest),
    }
    head = run.record.config.head
    intro = (
        f"A head of kind {plain(head)}, fusion {plain(run.fusion)}, on vectors of frozen encoders: it says of a "
        f"picture whether it is real or AI-generated. Made by featcache on {plain(run.record.created[:10])}. Its "
        "licence is for whoever publishes it to state, here and above."
    )
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"{_front_matter(run)}\n# {plain(title)}\n\n{intro}\n\n{body}\n"


def _front_matter(run: Run) -> str:
    """Return YAML, in which JSON texts are texts."""
    hub_ids = [place for producer in run.record.producers.values() if (place := _hub_id(producer))]
    fields = {
        "license": "other",
        "license_name": "not-stated",
        "library_name": "featcache",
        "pipeline_tag": "image-classification",
        "tags": ["featcache", "ai-generated-image-detection"],
        **({"base_model": hub_ids} if hub_ids else {}),
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _data(run: Run) -> str:
    record, b = run.record, joint_tasks(run.tasks)[1]
    generators = ", ".join(map(plain, b.classes)) if b else "not told apart"
    prior = record.verdicts.maps.prior
    lines = [
        f"- Data set: {plain(record.source['dataset'])}",
        f"- Rows: {record.rows.get('train', 0):,} to learn from, {record.rows.get('valid', 0):,} to select and "
        "calibrate",
        f"- Generators: {generators}",
        "- Share of AI pictures that raw P(AI) stands for: " + ("unknown" if prior is None else f"{prior:.3f}"),
    ]
    if record.transductive:
        splits = ", ".join(map(plain, record.transductive))
        lines.append(f"- Learned from pseudo-labels of {splits} too: figures on these rows are not of unseen data")
    return "\n".join(lines)


def _vectors(run: Run) -> str:
    rows = []
    for modality, producer in run.record.producers.items():
        chosen = producer.selection
        place = "no weights needed" if modality == "spectral" else _place(producer)
        rows.append((modality, place, vectors_of(chosen), chosen.fingerprint))
    header = ("modality", "weights", "outputs", "fingerprint")
    note = (
        "An encoder is the one that is meant if its fingerprint is: it covers weights, configuration, preprocessing "
        "and dtypes. Another one is refused, and the fields that differ are named. Pictures are seen as they are (view "
        "clean) where no other view is named."
    )
    return f"{table('Encoders', header, rows)}\n{note}"


def _points(run: Run) -> str:
    rows = [
        (name, point.view, f"{point.ai_from:.4f}", f"{point.real_below:.4f}", _or_none(point.guarantees))
        for name, point in run.points.items()
    ]
    parts = [table("On raw P(AI)", ("name", "view", "AI from", "real below", "promises"), rows)]
    promises = [(name, each) for name, point in run.points.items() for each in point.guarantees]
    if promises:
        header = (
            "point",
            "share of",
            "at most",
            "confidence",
            "n",
            "errors",
            "upper bound",
            "other class called rightly",
            "rows",
        )
        parts.append(table("Guarantees", header, [row for pair in promises for row in _promise(*pair)]))
    sets = run.record.verdicts.sets
    if sets is not None:
        parts.append(
            f"Sets of generators: of AI pictures of each generator with enough calibrating rows, at least "
            f"{100 * sets.coverage:.4g} % have their generator in the set (view {plain(sets.view)}).\n"
        )
    chosen = run.record.verdicts.point
    return "\n".join(parts) + f"\nWhere none is named, {plain(chosen)} decides."


def _or_none(guarantees: Sequence[Guarantee]) -> str:
    return "see below" if guarantees else "nothing"


def _promise(name: str, found: Guarantee) -> Iterator[tuple[str, ...]]:
    for each in found.origins or (found,):
        origin = getattr(each, "origin", None)
        where = f"{found.rows} of {found.dataset}" + ("" if origin is None else f", origin {origin or '(none)'}")
        where += f"; {found.note}" if found.note else ""
        n = f"{each.n:,} {found.unit}s"
        yield (
            name,
            _CALLED[found.rate],
            f"{100 * found.budget:.4g} %",
            f"{100 * found.confidence:.4g} %",
            n,
            f"{each.n_errors:,}",
            f"{100 * each.bound:.2f} %",
            _expected(found),
            where,
        )


def _expected(found: Guarantee) -> str:
    if found.expected is None:
        return "unknown"
    if found.low is None or found.high is None:
        return f"{100 * found.expected:.1f} %"
    return f"{100 * found.expected:.1f} % (95 %: {100 * found.low:.1f} – {100 * found.high:.1f} %)"


def _use(run: Run) -> str:
    options = [
        f"--{modality}-model {'HUB_ID_OR_FOLDER' if _hub_id(producer) is None else _weights(producer)}"
        for modality, producer in run.record.producers.items()
        if modality != "spectral"
    ]
    words = " ".join(["heads scan run PICTURES --out verdicts.csv", *options])
    return f"```console\n{words}\n```\n\nThe vectors are made as the run asks for; `heads detect` takes one picture."


def _here(run: Run, trained_digest: str) -> str:
    return "\n".join(
        [
            f"- `run/`: digest `{run.record.digest}`",
            f"- It was trained as `{trained_digest}`: entries of logs and evaluations name that digest. Here paths of "
            "the machine that trained it, and labels that it gave itself, are left out; what decides is the same.",
            "- No picture, caption or vector that it learned from, and no weights of its encoders.",
        ]
    )


def _place(producer: Producer) -> str:
    return _weights(producer) if _hub_id(producer) else f"a folder called {_source(producer, 'model')}"


def _weights(producer: Producer) -> str:
    revision = _source(producer, "revision")
    known = re.fullmatch(r"[\w.-]+", revision, re.ASCII) and revision != "None"
    return f"{_source(producer, 'model')}@{revision}" if known else _source(producer, "model")


def _hub_id(producer: Producer) -> str | None:
    model = _source(producer, "model")
    return model if _HUB_ID.fullmatch(model) else None


def _source(producer: Producer, name: str) -> str:
    source = producer.document.get("source")
    return str(source.get(name)) if isinstance(source, dict) else "?"
