import hashlib
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.errors import FeatcacheError
from featcache.pictures.perturbations import PERTURBATIONS
from featcache.pictures.views import MAX_VIEWS, PRESETS, VIEW_RULES, Perturbation, View, expand_views, parse_view

KEY = hashlib.sha256(b"content").digest()
ONE_OF_EACH = ("hflip", "jpeg:75", "blur:1", "noise:0.05", "brightness:0.5", "rescale:0.5", "crop:0.8")
ALL = (*ONE_OF_EACH, "clean", "jpeg:50+blur:1", "crop:0.8+noise:0.02+hflip+jpeg:30")


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@st.composite
def views(draw: st.DrawFn) -> View:
    numbers = {
        "jpeg": st.integers(1, 100),
        "blur": st.integers(2500, 200_000).map(lambda n: n / 10_000),
        "noise": st.integers(10, 10_000).map(lambda n: n / 10_000),
        "brightness": st.integers(500, 9999).map(lambda n: n / 10_000),
        "rescale": st.integers(10_001, 20_000).map(lambda n: n / 10_000),
        "crop": st.integers(500, 9999).map(lambda n: n / 10_000),
        "hflip": st.none(),
    }
    kinds = draw(st.lists(st.sampled_from(sorted(numbers)), max_size=4))
    return View(tuple(dict.fromkeys(Perturbation(kind, draw(numbers[kind])) for kind in kinds)))


@given(views())
def test_name_and_view_say_the_same(view: View) -> None:
    assert parse_view(str(view)) == view
    assert re.fullmatch(r"[a-z]+(:[0-9]+(\.[0-9]*[1-9])?)?(\+[a-z]+(:[0-9]+(\.[0-9]*[1-9])?)?)*", str(view))
    assert len(str(view)) < 100


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("clean", "clean"),
        (" Clean ", "clean"),
        ("jpeg:075.0", "jpeg:75"),
        ("JPEG:100", "jpeg:100"),
        ("blur:1.00", "blur:1"),
        ("blur:10", "blur:10"),
        ("noise:0.050", "noise:0.05"),
        ("jpeg:50 + blur:1", "jpeg:50+blur:1"),
        ("blur:1+jpeg:50", "blur:1+jpeg:50"),
        ("jpeg:90+jpeg:50", "jpeg:90+jpeg:50"),
    ],
)
def test_names_are_normalised_and_keep_their_order(text: str, canonical: str) -> None:
    assert str(parse_view(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "+", "jpeg:50+", "+jpeg:50", "jpeg:50++blur:1", "nothing", "jpeg", "jpeg:", "hflip:", "hflip:1"),
        *("jpeg:0", "jpeg:101", "jpeg:75.5", "jpeg:-1", "jpeg:nan", "jpeg:inf", "jpeg:7_5", "jpeg:٧٥", "jpeg:75:1"),
        *("blur:0", "blur:1e9", "blur:1e1", "blur:99", "blur:1.00001", "blur:0x1", "blur:\n1", "blur:1 0"),
        *("noise:0", "noise:2", "brightness:0", "brightness:1", "rescale:1", "rescale:0", "rescale:3", "crop:1"),
        *("crop:0", "crop:1.0", "clean+jpeg:50", "jpeg:50+clean", "clean+clean", "train+jpeg:50", "hflip+hflip"),
        *("blur:1+jpeg:50+blur:1.0", "jpeg:1+jpeg:2+jpeg:3+jpeg:4+jpeg:5", "../clean", "clean/x", ".", "jpeg:50\0"),
        *("+".join(f"jpeg:{i}" for i in range(1, 90)), "a" * 10_000, "jpeg:" + "9" * 10_000),
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(FeatcacheError) as caught:
        parse_view(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 75.5, None])
def test_a_part_made_by_hand_obeys_the_same_bounds(value: float | None) -> None:
    with pytest.raises(FeatcacheError):
        Perturbation("jpeg", value)
    with pytest.raises(FeatcacheError, match="takes no number"):
        Perturbation("hflip", 1)
    with pytest.raises(FeatcacheError, match="unknown"):
        Perturbation("sepia")


def test_refusals_say_what_would_do() -> None:
    for text, expected in {
        "jpeg:0": "jpeg takes whole numbers from 1 to 100; got 0",
        "rescale:1": "from 0.05 to 2, except 1, which changes nothing; got 1",
        "blur": "'blur' has no number, expected blur:N with N from 0.25 to 20",
        "sepia:1": "the part 'sepia:1', expected one of clean, hflip, jpeg, blur, ",
        "hflp": "train, report; did you mean 'hflip'?",
        "train+hflip": "combines 'train', which stands alone",
        "": "the name of a view is empty, expected one such as 'clean'",
        "jpeg:50+": "view 'jpeg:50+' has an empty part",
    }.items():
        with pytest.raises(FeatcacheError, match=re.escape(expected)):
            parse_view(text)


def test_lists_and_presets_expand_in_order_each_view_once() -> None:
    assert list(map(str, expand_views("jpeg:50, clean,hflip,jpeg:50.0"))) == ["jpeg:50", "clean", "hflip"]
    assert expand_views(["jpeg:50,clean", "hflip"]) == expand_views("jpeg:50,clean,hflip")
    assert tuple(map(str, expand_views("train"))) == PRESETS["train"]
    both = expand_views("Report,train")
    assert len(both) == len(PRESETS["train"]) + len(PRESETS["report"]) - 1
    assert str(both[0]) == "clean" and both == tuple(dict.fromkeys(both))


@pytest.mark.parametrize("request_", ["", ",", "clean,", [], [""], ["clean", ""]])
def test_empty_requests_are_refused(request_: str | list[str]) -> None:
    with pytest.raises(FeatcacheError, match="no view is named" if "clean" not in str(request_) else "an empty view"):
        expand_views(request_)


def test_too_many_views_are_refused() -> None:
    names = [f"jpeg:{quality}" for quality in range(1, MAX_VIEWS + 2)]
    assert len(expand_views(names[:MAX_VIEWS])) == MAX_VIEWS
    with pytest.raises(FeatcacheError, match=f"33 views are named, at most {MAX_VIEWS}"):
        expand_views(names)


def test_reported_severities_are_all_stronger_than_trained_ones() -> None:
    strength = {"jpeg": -1, "blur": 1, "noise": 1, "brightness": -1, "rescale": -1, "crop": -1}
    trained, reported = (
        {kind: [p.value * strength[kind] for v in expand_views(preset) for p in v.parts if p.kind == kind and p.value]
         for kind in strength}
        for preset in ("train", "report")
    )  # fmt: skip
    for kind in strength:
        assert trained[kind] and reported[kind] and max(trained[kind]) < min(reported[kind]), kind
    assert "hflip" not in PRESETS["report"]
    assert PRESETS["train"][0] == PRESETS["report"][0] == "clean"


def test_presets_are_canonical_and_every_kind_has_its_rule() -> None:
    kinds = {part.kind for view in expand_views("train,report") for part in view.parts}
    assert {"clean", *kinds} == set(VIEW_RULES)
    for names in PRESETS.values():
        assert tuple(str(parse_view(name)) for name in names) == names


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (2, 2), (17, 9), (40, 60)])
def test_every_view_takes_every_shape_and_leaves_the_picture_alone(shape: tuple[int, int]) -> None:
    for view in expand_views(ALL):
        image = picture(*shape)
        before = image.tobytes()
        made = view.apply(image, KEY)
        made.putpixel((0, 0), (1, 2, 3)) if not view.is_clean else None
        assert made.mode == "RGB" and image.tobytes() == before
        if not {"rescale", "crop"} & {part.kind for part in view.parts}:
            assert made.size == image.size


def test_the_clean_view_is_the_picture_itself() -> None:
    image = picture(3, 4)
    assert View().apply(image, KEY) is image and View().is_clean
    assert not parse_view("hflip").is_clean


def test_a_combination_applies_its_parts_in_order() -> None:
    image = picture(40, 30)
    first, second = parse_view("jpeg:50"), parse_view("blur:1")
    expected = second.apply(first.apply(image, KEY), KEY)
    assert parse_view("jpeg:50+blur:1").apply(image, KEY).tobytes() == expected.tobytes()
    assert parse_view("blur:1+jpeg:50").apply(image, KEY).tobytes() != expected.tobytes()


def test_seed_depends_on_content_part_and_place() -> None:
    grey = Image.new("RGB", (30, 30), (128, 128, 128))

    def signs(name: str, key: bytes = KEY) -> bytes:
        return np.sign(np.asarray(parse_view(name).apply(grey, key)).astype(int) - 128).tobytes()

    made = [signs("noise:0.05"), signs("noise:0.05", b"other"), signs("noise:0.06"), signs("hflip+noise:0.05")]
    assert len(set(made)) == len(made)
    assert signs("noise:0.05") == made[0]


def test_seed_is_what_the_documentation_says() -> None:
    from featcache.pictures.perturbations import noise

    image = picture(9, 7)
    seed = hashlib.sha256(KEY + b"/0/noise:0.05").digest()
    assert parse_view("noise:0.05").apply(image, KEY).tobytes() == noise(image, 0.05, seed[:16]).tobytes()


CHILD = """
import hashlib, sys
import numpy as np
from PIL import Image
from featcache.pictures.views import expand_views
image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 70, 3), np.uint8))
key = hashlib.sha256(b"content").digest()
for view in expand_views(sys.argv[1]):
    sys.stdout.write(hashlib.sha256(view.apply(image, key).tobytes()).hexdigest() + chr(10))
assert "torch" not in sys.modules
"""


def test_pixels_are_the_same_in_every_process_and_thread() -> None:
    names = ",".join(ALL)

    def digests(_: int) -> list[str]:
        image = picture(150, 70)  # each its own, as in an extraction: Pillow keeps how it saves in the picture
        return [hashlib.sha256(view.apply(image, KEY).tobytes()).hexdigest() for view in expand_views(names)]

    run = subprocess.run([sys.executable, "-c", CHILD, names], capture_output=True, text=True, check=True)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(digests, range(8)))
    assert all(one == run.stdout.split() for one in made)
    assert len(set(made[0])) == len(ALL)


def test_every_name_has_its_function() -> None:
    assert ["clean", *PERTURBATIONS] == list(VIEW_RULES)


def test_views_can_be_sent_to_another_process() -> None:
    for view in expand_views(ALL):
        assert pickle.loads(pickle.dumps(view)) == view


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="'L'"):
        parse_view("hflip").apply(Image.new("L", (4, 4)), KEY)


@settings(max_examples=200)
@given(st.text(alphabet="jpegblurnoiscaflhv:+.,0159 \t", max_size=30))
def test_any_text_is_a_view_or_a_known_error(text: str) -> None:
    try:
        made = expand_views(text)
    except FeatcacheError:
        return
    assert made == expand_views(",".join(map(str, made)))
