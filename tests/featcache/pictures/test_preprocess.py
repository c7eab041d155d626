import hashlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Resampling
from transformers import (
    BeitImageProcessorPil,
    BitImageProcessorPil,
    CLIPImageProcessorPil,
    DeiTImageProcessorPil,
    SiglipImageProcessorPil,
    ViTImageProcessorPil,
)
from transformers.image_transforms import convert_to_rgb
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from featcache.errors import ModelError
from featcache.files.digests import canonical_json
from featcache.pictures import preprocess, processor_config
from featcache.pictures.decode import decode_rgb
from featcache.pictures.preprocess import Preprocessor

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
REFERENCES: dict[str, Any] = {
    "BeitImageProcessor": BeitImageProcessorPil,
    "BitImageProcessor": BitImageProcessorPil,
    "CLIPImageProcessor": CLIPImageProcessorPil,
    "DeiTImageProcessor": DeiTImageProcessorPil,
    "SiglipImageProcessor": SiglipImageProcessorPil,
    "ViTImageProcessor": ViTImageProcessorPil,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {"image_processor_type": "CLIPImageProcessor"},
    "clip-2021": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "crop_size": 32,
        "size": 32,
        "resample": 3,
        "do_center_crop": True,
        "do_resize": True,
    },
    "clip-fast": {
        "image_processor_type": "CLIPImageProcessorFast",
        "size": {"shortest_edge": 30},
        "crop_size": {"height": 30, "width": 30},
        "rescale_factor": 1 / 255,
    },
    "clip-crop-larger": {"image_processor_type": "CLIPImageProcessor", "size": 20, "crop_size": [31, 26]},
    "clip-odd-crop": {"image_processor_type": "CLIPImageProcessor", "size": 40, "crop_size": 33},
    "clip-crop-alone": {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": 24},
    "clip-square": {"image_processor_type": "CLIPImageProcessor", "size": 24, "default_to_square": True},
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "crop_size": {"height": 28, "width": 28},
        "size": {"shortest_edge": 32},
        "resample": 3,
        "image_mean": MEAN,
        "image_std": STD,
        "do_convert_rgb": True,
        "rescale_factor": 0.00392156862745098,
    },
    "vit": {"image_processor_type": "ViTImageProcessor", "size": 24},
    "vit-wide": {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 20, "width": 36}},
    "vit-raw": {"feature_extractor_type": "ViTFeatureExtractor", "size": 20, "do_normalize": False},
    "vit-unscaled": {"image_processor_type": "ViTImageProcessor", "size": 20, "do_rescale": False},
    "vit-one-mean": {"image_processor_type": "ViTImageProcessor", "size": 20, "image_mean": 0.5, "image_std": 0.25},
    "vit-lanczos": {"image_processor_type": "ViTImageProcessor", "size": 20, "resample": 1},
    "vit-nearest": {"image_processor_type": "ViTImageProcessor", "size": 20, "resample": 0},
    "vit-crop": {"image_processor_type": "ViTImageProcessor", "size": 28, "do_center_crop": True, "crop_size": 20},
    "deit": {"feature_extractor_type": "DeiTFeatureExtractor", "size": 32, "crop_size": 28, "resample": 3},
    "deit-defaults": {"image_processor_type": "DeiTImageProcessor"},
    "siglip": {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 24, "width": 24},
        "resample": 3,
        "do_convert_rgb": None,
        "processor_class": "X",
    },
}
LATER: dict[str, dict[str, Any]] = {
    "beit": {"image_processor_type": "BeitImageProcessor", "size": 24, "reduce_labels": True},
    "beit-crop": {
        "feature_extractor_type": "BeitFeatureExtractor",
        "size": 30,
        "do_center_crop": True,
        "crop_size": 24,
    },
}
"""Of classes that were taken later: the digest of the documents of `CONFIGS` never changes."""
NASTY = [(1, 1), (1, 200), (200, 1), (10, 2000), (2000, 10), (225, 223), (224, 224), (480, 640), (3, 3), (33, 32)]


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def reference_of(config: dict[str, Any], **changes: Any) -> Any:
    name = config.get("image_processor_type") or config["feature_extractor_type"]
    name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    return REFERENCES[name](**{**config, **changes})


def check_against_reference(config: dict[str, Any], image: Image.Image) -> None:
    ours = Preprocessor.from_config(config)
    levels = reference_of(config, do_rescale=False, do_normalize=False)(image)["pixel_values"][0]
    made = ours.pixels(image)
    assert made.dtype == np.uint8 and made.shape == (*ours.size, 3)
    np.testing.assert_array_equal(made, np.moveaxis(levels, 0, -1))
    expected = np.asarray(reference_of(config)(image)["pixel_values"][0])
    normalised = (made * ours.rescale - np.array(ours.mean)) / np.array(ours.std)
    np.testing.assert_allclose(np.moveaxis(normalised, -1, 0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS | LATER)
def test_pixels_equal_the_reference_on_nasty_sizes(name: str) -> None:
    for height, width in NASTY:
        check_against_reference((CONFIGS | LATER)[name], picture(height, width))


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    short=st.integers(1, 60),
    ratio=st.floats(1, 200),
    is_tall=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_pixels_equal_the_reference(name: str, short: int, ratio: float, is_tall: bool, seed: int) -> None:
    long = min(int(short * ratio), 2500)
    check_against_reference(CONFIGS[name], picture(*((long, short) if is_tall else (short, long)), seed))


@pytest.mark.parametrize("shape", [(90, 40), (40, 90), (700, 60), (60, 700), (1, 200), (47, 46)])
def test_whole_resize_equals_box_alone(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    p = Preprocessor(resize=48, crop=(40, 40))
    by_default = p.pixels(picture(*shape))
    for many_times in (0, 10**9):
        monkeypatch.setitem(preprocess._MANY_TIMES, "pillow", many_times)
        np.testing.assert_array_equal(p.pixels(picture(*shape)), by_default)


def test_pixels_are_writable_and_the_picture_is_left_alone() -> None:
    for shape in ((24, 24), (24, 600), (600, 24), (30, 40)):
        image = picture(*shape)
        before = image.tobytes()
        made = Preprocessor(resize=24, crop=(24, 24)).pixels(image)
        assert made.flags.writeable and made.flags.c_contiguous
        made[:] = 0
        assert image.tobytes() == before


def test_known_models_have_the_class_that_transformers_gives_them() -> None:
    for model_type, name in processor_config._CLASS_OF_MODEL.items():
        if model_type in IMAGE_PROCESSOR_MAPPING_NAMES and "pil" in IMAGE_PROCESSOR_MAPPING_NAMES[model_type]:
            assert IMAGE_PROCESSOR_MAPPING_NAMES[model_type]["pil"] == f"{name}Pil"


@settings(max_examples=60)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 9))
def test_pixels_of_dinov3_are_within_one_level_of_what_is_not_rounded(height: int, width: int, seed: int) -> None:
    import torch

    image = picture(height, width, seed)
    config = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": 24}
    ours = Preprocessor.from_config(config)
    assert (ours.mean, ours.std) == (tuple(MEAN), tuple(STD))
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    exact = 255 * torch.nn.functional.interpolate(levels, (24, 24), mode="bilinear", antialias=True)[0]
    assert np.abs(ours.pixels(image) - exact.permute(1, 2, 0).numpy()).max() <= 1.001


def test_unnamed_class_is_told_by_the_model_type() -> None:
    config = {"do_normalize": True, "do_resize": True, "image_mean": MEAN, "image_std": STD, "size": 224}
    assert Preprocessor.from_config(config, model_type="vit").resize == (224, 224)
    with pytest.raises(ModelError, match="no image_processor_type"):
        Preprocessor.from_config(config)


def test_unnamed_class_is_not_needed_where_all_agree() -> None:
    config = {"size": {"height": 24, "width": 24}, "resample": 2, "image_mean": MEAN, "image_std": STD}
    p = Preprocessor.from_config(config | {"do_center_crop": False})
    assert p == Preprocessor(resize=(24, 24), filter=Resampling.BILINEAR, mean=tuple(MEAN), std=tuple(STD))
    with pytest.raises(ModelError, match="names no image_processor_type, one of"):
        Preprocessor.from_config(config)


def test_named_class_wins_over_the_model_type() -> None:
    config = {"image_processor_type": "ViTImageProcessor", "size": 20}
    assert Preprocessor.from_config(config, model_type="clip").resize == (20, 20)


def test_nested_config_is_found() -> None:
    nested = {"image_processor": CONFIGS["dinov2"], "processor_class": "X"}
    assert Preprocessor.from_config(nested) == Preprocessor.from_config(CONFIGS["dinov2"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_pad", True),
        ("crop_pct", 0.875),
        ("use_square_size", True),
        ("rescale_offset", True),
        ("do_resize", 1),
        ("resample", "bicubic"),
        ("resample", 6),
        ("size", {"longest_edge": 20}),
        ("size", {"shortest_edge": 20, "longest_edge": 90}),
        ("size", {"min_pixels": 20, "max_pixels": 90}),
        ("size", 0),
        ("size", True),
        ("size", 20.5),
        ("size", [20, 20, 20]),
        ("size", 10**9),
        ("crop_size", {"shortest_edge": 20}),
        ("image_mean", [0.5]),
        ("image_mean", [0.5, 0.5, 0.5, 0.5]),
        ("image_mean", [0.5, 0.5, float("nan")]),
        ("image_std", [0.5, 0.5, 0]),
        ("rescale_factor", "1/255"),
    ],
)
def test_option_that_cannot_be_honoured_is_named(name: str, value: object) -> None:
    with pytest.raises(ModelError, match=rf"{name}.*{re.escape(repr(value))}"):
        Preprocessor.from_config({"image_processor_type": "CLIPImageProcessor", name: value})


@pytest.mark.parametrize("name", ["Siglip2ImageProcessor", "ConvNextFeatureExtractor"])
def test_unknown_class_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=name):
        Preprocessor.from_config({"image_processor_type": name, "size": 224})


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "SiglipImageProcessor", "size": 224},  # an int means the shorter side there
        {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False},
        {"image_processor_type": "ViTImageProcessor", "do_resize": False},
    ],
)
def test_varying_size_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="varies"):
        Preprocessor.from_config(config)


def test_document_is_canonical_json_of_what_changes_the_pixels() -> None:
    documents = {name: canonical_json(Preprocessor.from_config(c).document()) for name, c in CONFIGS.items()}
    assert len(set(documents.values())) == len(documents)
    explicit = CONFIGS["clip"] | {"size": {"shortest_edge": 224}, "do_rescale": True, "resample": 3, "do_pad": False}
    assert Preprocessor.from_config(explicit).document() == Preprocessor.from_config(CONFIGS["clip"]).document()
    document = Preprocessor.from_config(CONFIGS["dinov2"]).document()
    assert document.pop("passes")
    assert document == {
        "backend": "pillow",
        "resize": "shortest_edge:32",
        "filter": "bicubic",
        "crop": [28, 28],
        "rescale": 1 / 255,
        "mean": MEAN,
        "std": STD,
    }


def test_crop_of_the_exact_size_is_no_crop() -> None:
    config = {"image_processor_type": "CLIPImageProcessor", "size": {"height": 24, "width": 24}, "crop_size": 24}
    assert Preprocessor.from_config(config).document()["crop"] is None


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="'L'"):
        Preprocessor(resize=(4, 4)).pixels(Image.new("L", (4, 4)))


def test_transparency_is_composited_as_in_the_reference() -> None:
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64, 4), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    made = np.asarray(decode_rgb(buffer.getvalue()))
    np.testing.assert_array_equal(made, convert_to_rgb(image, return_numpy=True))


def pillow_columns_first(image: Image.Image, size: tuple[int, int], filter: Resampling) -> np.ndarray:
    return np.asarray(image.resize((size[1], image.height), filter).resize(size[::-1], filter)).astype(int)


def natural(height: int, width: int, seed: int = 0) -> Image.Image:
    """Make colours whose power falls with the third power of the frequency, as in soft photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / max(height, width)
    noise = rng.standard_normal((5, height, width))
    fields = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.5, (height, width))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    colours = 128 + 55 * fields[0] + 12 * fields[1:4] + 2 * rng.standard_normal((3, height, width))
    return Image.fromarray(np.moveaxis(colours, 0, -1).clip(0, 255).astype(np.uint8))


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    filter=st.sampled_from([Resampling.BICUBIC, Resampling.BILINEAR]),
    seed=st.integers(0, 99),
)
def test_torch_resizes_as_pillow_does_columns_first(
    shape: tuple[int, int], size: tuple[int, int], filter: Resampling, seed: int
) -> None:
    image = picture(*shape, seed)
    made = Preprocessor(resize=size, filter=filter, backend="torch").pixels(image)
    difference = np.abs(made - pillow_columns_first(image, size, filter))
    # White noise is the worst case: torch's weights have 16 bits, Pillow's 22.
    assert difference.max() <= 3 and (difference > 1).sum() <= 3 + 0.005 * difference.size


@pytest.mark.parametrize("filter", [Resampling.BICUBIC, Resampling.BILINEAR])
@pytest.mark.parametrize("shape", [(577, 800), (640, 480), (256, 256), (180, 240), (64, 40)])
def test_torch_is_within_one_level_of_pillow_on_photographs(shape: tuple[int, int], filter: Resampling) -> None:
    for resize, crop in (((224, 224), None), (224, (224, 224))):
        image = natural(*shape)
        made, exact = (
            Preprocessor(resize=resize, crop=crop, filter=filter, backend=backend).pixels(image).astype(int)
            for backend in ("pillow", "torch")
        )
        difference = np.abs(made - exact)
        assert difference.max() <= 2 and (difference > 1).mean() < 1e-4 and difference.mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("filter", "most"), [(Resampling.BICUBIC, 5), (Resampling.BILINEAR, 1)])
def test_torch_is_within_five_levels_of_pillow_where_that_takes_rows_first(filter: Resampling, most: int) -> None:
    image = natural(2048, 1024)
    made, exact = (
        Preprocessor(resize=(224, 224), filter=filter, backend=backend).pixels(image).astype(int)
        for backend in ("torch", "pillow")
    )
    difference = np.abs(made - exact)
    assert difference.max() <= most and (difference > 1).mean() < 1e-3 and (difference > 0).mean() < 0.15


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("vit-lanczos", "vit-nearest")])
def test_torch_makes_the_same_shapes_as_pillow(name: str) -> None:
    for shape in NASTY:
        ours = Preprocessor.from_config(CONFIGS[name], resize="torch")
        made = ours.pixels(picture(*shape))
        assert made.dtype == np.uint8 and made.shape == (*ours.size, 3)
        assert made.flags.writeable and made.flags.c_contiguous


def test_torch_leaves_long_strips_to_pillows_arithmetic_columns_first() -> None:
    p = Preprocessor(resize=24, crop=(24, 24), backend="torch")
    for shape in ((500, 30), (30, 500), (90, 1000)):
        short = min(shape)
        size = (24 * shape[0] // short, 24 * shape[1] // short)
        top, left = (size[0] - 24) // 2, (size[1] - 24) // 2
        whole = pillow_columns_first(picture(*shape), size, Resampling.BICUBIC)
        np.testing.assert_array_equal(p.pixels(picture(*shape)), whole[top : top + 24, left : left + 24])


def test_torch_refuses_what_it_cannot_resize_with() -> None:
    with pytest.raises(ModelError, match="bicubic or bilinear, but the model's filter is lanczos"):
        Preprocessor.from_config(CONFIGS["vit-lanczos"], resize="torch")
    with pytest.raises(ModelError, match=r"'opencv' is unknown, expected one of pillow, torch"):
        Preprocessor.from_config(CONFIGS["vit"], resize="opencv")  # type: ignore[arg-type]


def test_square_crop_takes_the_middle_before_anything_else() -> None:
    for shape in ((40, 61), (61, 40), (33, 33), (1, 200), (300, 20)):
        image = picture(*shape)
        side, (height, width) = min(shape), shape
        top, left = (height - side) // 2, (width - side) // 2
        square = Image.fromarray(np.asarray(image)[top : top + side, left : left + side].copy())
        for name in ("vit-wide", "clip-odd-crop", "clip-crop-alone"):
            made = Preprocessor.from_config(CONFIGS[name], square_crop=True).pixels(image)
            np.testing.assert_array_equal(made, Preprocessor.from_config(CONFIGS[name]).pixels(square))


def test_documents_of_the_defaults_never_change() -> None:
    documents = []
    for name in sorted(CONFIGS):
        document = Preprocessor.from_config(CONFIGS[name]).document()
        assert (document.pop("passes") is None) == (document["resize"] == "none")  # depends on the Pillow installed
        documents.append(document)
    assert hashlib.sha256(canonical_json(documents).encode()).hexdigest()[:16] == "e6a18a6443776085"


def test_what_the_user_chose_is_recorded_where_it_has_an_effect() -> None:
    default = Preprocessor.from_config(CONFIGS["clip"]).document()
    torch = Preprocessor.from_config(CONFIGS["clip"], resize="torch").document()
    assert torch == default | {"backend": "torch", "passes": "columns first", "long": "pillow beyond 8 boxes"}
    assert Preprocessor.from_config(CONFIGS["clip"], square_crop=True).document() == default | {"square_crop": True}
    unresized = CONFIGS["clip-crop-alone"]
    by_torch = Preprocessor.from_config(unresized, resize="torch")
    assert by_torch.document() == Preprocessor.from_config(unresized).document()


def test_scaled_decoding_stays_at_twice_the_resize() -> None:
    for name, square_crop, expected in (
        ("clip-odd-crop", False, (80, 80)),
        ("vit-wide", False, (40, 72)),
        ("vit-wide", True, (72, 72)),
        ("clip-crop-alone", False, None),
    ):
        assert Preprocessor.from_config(CONFIGS[name], square_crop=square_crop).at_least == expected


@pytest.mark.slow
@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("shape", [(900, 1200), (1000, 896)])
def test_scaled_decoding_changes_soft_pictures_by_less_than_a_level(shape: tuple[int, int], quality: int) -> None:
    buffer = io.BytesIO()
    natural(*shape).save(buffer, "JPEG", quality=quality)
    p = Preprocessor(resize=224, crop=(224, 224))
    fast = decode_rgb(buffer.getvalue(), at_least=p.at_least)
    assert 448 <= min(fast.size) < min(shape)
    difference = np.abs(p.pixels(fast).astype(int) - p.pixels(decode_rgb(buffer.getvalue())))
    assert difference.mean() < 0.6


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_scaled_decoding_changes_sharp_photographs_by_at_most_a_level(name: str) -> None:
    photograph = decode_rgb((Path(sklearn.datasets.__path__[0]) / "images" / name).read_bytes())
    buffer = io.BytesIO()
    photograph.crop((0, 0, 640, 424)).save(buffer, "JPEG", quality=92)
    for edge, size in ((106, (320, 212)), (96, (320, 212)), (53, (160, 106))):
        p = Preprocessor(resize=edge, crop=(edge, edge))
        fast = decode_rgb(buffer.getvalue(), at_least=p.at_least)
        assert fast.size == size
        difference = np.abs(p.pixels(fast).astype(int) - p.pixels(decode_rgb(buffer.getvalue())))
        assert difference.mean() < 1


@pytest.mark.slow
def test_torch_is_imported_only_where_it_resizes() -> None:
    code = (
        "import sys; from PIL import Image; from featcache.pictures.preprocess import Preprocessor as P\n"
        "P(resize=(4, 4), backend=sys.argv[1]).pixels(Image.new('RGB', (9, 9)))\n"
        "sys.stdout.write(str('torch' in sys.modules))"
    )
    for backend, expected in (("pillow", "False"), ("torch", "True")):
        run = subprocess.run([sys.executable, "-c", code, backend], capture_output=True, text=True, check=True)
        assert run.stdout == expected


PEAK = """
import sys, threading, time
import numpy as np
from pathlib import Path
from PIL import Image
from featcache.pictures.preprocess import Preprocessor
def anonymous():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in l)
p = Preprocessor(resize=224, crop=(224, 224), backend=sys.argv[3])
p.pixels(Image.new("RGB", (300, 900)))
image = Image.new("RGB", (int(sys.argv[1]), int(sys.argv[2])))
base, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.0005)
thread = threading.Thread(target=watch)
thread.start()
for _ in range(3):
    assert p.pixels(image).shape == (224, 224, 3)
done.set()
thread.join()
sys.stdout.write(str(peak[0] - base))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads RssAnon from /proc")
@pytest.mark.parametrize("backend", ["pillow", "torch"])
@pytest.mark.parametrize("shape", [("20000", "100"), ("100", "20000")])
def test_long_strip_costs_little_memory(shape: tuple[str, str], backend: str) -> None:
    run = subprocess.run([sys.executable, "-c", PEAK, *shape, backend], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 20_000  # kB; Pillow holds 40,000 for the whole resized strip
