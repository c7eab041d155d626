"""What the command line says goes before ``featcache.toml``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import typer

from featcache.commands.extract.options import DecodeName, DeviceName, FitName
from featcache.commands.extract.request import EncoderRequest, ExtractRequest, PaceRequest, choose_data, refuse_empty
from featcache.errors import FeatcacheError
from featcache.project import Project

PROJECT = Project(
    data="p", text_model="t", image_outputs="cls", views="train", spectral=True, decode="fast", image_size=64,
    fit="pad", variant="fp16",
)  # fmt: skip


def test_the_command_line_goes_before_the_project() -> None:
    models = EncoderRequest(text_model="other", decode=DecodeName.exact).models(PROJECT)
    assert (models.text, models.image_outputs, models.spectral) == ("other", "cls", True)
    assert models.pictures.decode == "exact" and EncoderRequest().models(PROJECT).pictures.decode == "fast"
    of_project, said = (
        request.models(PROJECT) for request in (EncoderRequest(), EncoderRequest(image_size=96, fit=FitName.crop))
    )
    assert (of_project.pictures.image_size, of_project.pictures.fit, of_project.variant) == (64, "pad", "fp16")
    assert (said.pictures.image_size, said.pictures.fit) == (96, "crop")
    assert EncoderRequest(views="hflip").chosen_views(PROJECT) == "hflip"
    assert EncoderRequest().chosen_views(PROJECT) == "train" and EncoderRequest().chosen_views(Project()) == "clean"
    assert choose_data("d", PROJECT) == "d" and choose_data(None, PROJECT) == "p"
    with pytest.raises(FeatcacheError, match=r"^featcache\.toml: view 'jpg:5'"):
        EncoderRequest().chosen_views(Project(views="jpg:5"))
    with pytest.raises(typer.BadParameter, match="DATA is missing"):
        choose_data(None, Project())


def test_spectral_features_are_asked_for_by_their_outputs_too() -> None:
    assert EncoderRequest(spectral_outputs="grid").models(Project()).spectral
    assert EncoderRequest(spectral_outputs="grid").models(Project(spectral=False)).spectral
    assert EncoderRequest().models(Project(spectral_outputs="grid")).spectral
    assert not EncoderRequest(spectral=False).models(PROJECT).spectral
    assert not EncoderRequest().models(Project()).spectral
    with pytest.raises(typer.BadParameter, match="none with --no-spectral"):
        EncoderRequest(spectral=False, spectral_outputs="grid").models(Project())


@pytest.mark.parametrize("option", EncoderRequest().texts)
def test_an_empty_text_is_refused_by_its_option(option: str) -> None:
    request = EncoderRequest(**{option.removeprefix("--").replace("-", "_"): " "})
    with pytest.raises(typer.BadParameter) as error:
        refuse_empty(request.texts)
    assert error.value.param_hint == option
    refuse_empty(EncoderRequest().texts)


def test_no_workers_are_threads_and_auto_is_left_open() -> None:
    pace = PaceRequest()
    found = pace.options(DeviceName.cpu)
    assert (found.device, found.batch_size, found.workers, found.processes) == ("cpu", None, None, None)
    found = replace(pace, workers="0", batch_size="7", memory="2KB").options(DeviceName.auto)
    assert (found.device, found.batch_size, found.workers, found.processes, found.memory) == (
        "auto",
        7,
        None,
        False,
        2000,
    )
    found = replace(pace, workers="3").options(DeviceName.cpu)
    assert (found.workers, found.processes) == (3, None)


def test_the_options_of_an_extraction_are_those_that_were_asked_for() -> None:
    request = ExtractRequest(shard="1/2", shard_rows=9, refreeze=True, max_failures="5%", rehash=True, seed=4)
    found = request.options()
    assert (str(found.partition), found.unit_rows, found.refreeze, str(found.max_failures)) == ("1/2", 9, True, "5%")
    assert (found.rehash, found.seed, found.retry_failed) == (True, 4, False)
    with pytest.raises(typer.BadParameter, match="nothing is divided without --shard"):
        ExtractRequest(refreeze=True).options()
