"""Which of the stored vectors stand for each modality, in each view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from featcache import FeatureStore, Selection
from heads.data.fusion import check_fusion, fusion_modalities
from heads.errors import HeadsError

__all__ = ["choose_outputs", "choose_selections", "choose_views"]

_ORDER = ("text", "image", "spectral")


def choose_selections(
    store: FeatureStore,
    modalities: Iterable[str],
    *,
    choices: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Selection]:
    """Ask the store which vectors stand for each modality.

    Parameters
    ----------
    store : FeatureStore
        The open cache.
    modalities : iterable of str
        Those to be used.
    choices : mapping of modality to mapping, optional
        ``encoder``, ``outputs`` (comma-separated) and ``view``, where the store's defaults are not meant.
    """
    modalities = tuple(modalities)
    unused = sorted(set(choices or {}) - set(modalities))
    if unused:
        raise HeadsError(
            f"a {unused[0]} encoder, output or view was chosen, but only {' and '.join(modalities)} vectors are used"
        )
    selections = {}
    for modality in modalities:
        choice = dict((choices or {}).get(modality, {}))
        outputs = choice.pop("outputs", None)
        encoder, view = choice.pop("encoder", None), choice.pop("view", "clean")
        if choice:
            raise HeadsError(f"unknown choice {next(iter(choice))!r} for {modality}: expected encoder, outputs or view")
        names = None if outputs is None else tuple(part.strip() for part in outputs.split(","))
        selections[modality] = store.select(modality, encoder=encoder, outputs=names, view=view)
    return selections


def choose_views(
    store: FeatureStore,
    fusions: Iterable[str],
    *,
    views: Sequence[str] = ("clean",),
    choices: Mapping[str, Mapping[str, str]] | None = None,
) -> list[dict[str, Selection]]:
    """Ask the store which vectors stand for each modality under each view; captions have the clean one alone.

    Parameters
    ----------
    store : FeatureStore
    fusions : iterable of str
        Their modalities are chosen.
    views : sequence of str
        Names; the first is the one to select and score on.
    choices
        As of `choose_selections`; a view that is chosen for a modality takes the place of the first.
    """
    fusions = tuple(fusions)
    for fusion in fusions:
        check_fusion(fusion, store.modalities, where=f"cache {store.path}")
    needed = {modality for fusion in fusions for modality in fusion_modalities(fusion)}
    modalities = [modality for modality in _ORDER if modality in needed]
    first = choose_selections(store, modalities, choices=choices)
    chosen = [first]
    for view in views[1:]:
        own = {m: {**(choices or {}).get(m, {}), "view": view} for m in modalities if m != "text"}
        chosen.append(choose_selections(store, modalities, choices={**(choices or {}), **own}))
    return chosen


def choose_outputs(
    store: FeatureStore,
    outputs: Mapping[str, Sequence[str]],
    *,
    views: Sequence[str] = ("clean",),
    choices: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, dict[str, tuple[Selection, ...]]]:
    """Ask the store which vectors stand for a modality under each view, for each of several requests of outputs.

    Parameters
    ----------
    store : FeatureStore
    outputs : mapping of modality to sequence of str
        The requests.
    views, choices
        As of `choose_views`.

    Returns
    -------
    dict of modality to dict of str to tuple of Selection
        By request, one a view.
    """
    found: dict[str, dict[str, tuple[Selection, ...]]] = {}
    for modality, requests in outputs.items():
        found[modality] = {}
        for request in requests:
            own = {modality: {**(choices or {}).get(modality, {}), "outputs": request}}
            # Each modality by itself is a fusion of its name.
            chosen = choose_views(store, (modality,), views=views, choices=own)
            found[modality][request] = tuple(view[modality] for view in chosen)
    return found
