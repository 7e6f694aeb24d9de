"""Pages and texts of a run: what comes from outside is text in them, whatever it holds."""

import shutil
from html.parser import HTMLParser

import pytest
import yaml
from conftest import ROOT

from fashion_gan.errors import UserError
from fashion_gan.files import read_json, write_json
from fashion_gan.report import markdown, pages
from fashion_gan.runs.run import Run

REFRESH = '<meta http-equiv="refresh" content="0;url=https://example.org/">'
HOSTILE = (
    REFRESH,
    "expected <class 'int'> & got </p><h1>x</h1>",
    "<img src=x onerror=alert(1)>",
    "[click](https://example.org/) ![i](https://example.org/i.png)",
    "a | b | c *d* _e_ `f` ~~g~~ # h",
    "$x$ and $$y$$, \\(z\\)",
    "https://example.org/ <https://example.org/>",
    "&lt;b&gt; &amp;",
    "{{ 7 * 7 }} {% raw %}",
)


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(str(page))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, sorted(name for name, _ in attrs)))
        self.text += "".join(f" {value} " for name, value in attrs if name == "alt")

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The old run of tests/before, outside of any project."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests" / "before" / "run", tmp_path / "a run")
    return Run(tmp_path / "a run")


def in_data_name(run, text):
    run.update(data={"name": text, "shape": [1, 8, 8], "classes": ["a", "b"]})


def in_class_name(run, text):
    run.update(data={"name": "mine", "shape": [1, 8, 8], "classes": [text, "b"]})
    scores = run.read_json("scores")
    real = scores["real"] | {"class_accuracy": [0.9]}
    scores |= {"classes": [text], "class_accuracy": [0.5], "real": real}
    run.log_json(scores, "scores")


def in_reason(run, text):
    run.update(status="FAILED", reason=text)


def in_warnings(run, text):
    run.log_json(run.read_json("scores") | {"warnings": [text]}, "scores")


def in_like(run, text):
    run.log_json(run.read_json("scores") | {"like": text}, "scores")


def in_verdict(run, text):
    run.log_json({"verdict": text}, "swept")


def in_tags(run, text):
    run.update(tags=run.info.tags | {"command": text, "hardware": text})


def in_params(run, text):
    run.update(params=run.info.params | {"dataset": text})


def in_picture(run, text):
    (run.folder / "images").mkdir(exist_ok=True)
    (run.folder / "images" / "losses.png").write_bytes(b"")
    run.log_json({"losses": {"alt": text, "width": text}}, "images/descriptions")


WAYS = (
    in_data_name,
    in_class_name,
    in_reason,
    in_warnings,
    in_like,
    in_verdict,
    in_tags,
    in_params,
    in_picture,
)


def documents(run):
    """The index page, the model card and the description in MLflow, as a reader shows them."""
    page = pages.write_report(run).read_text()
    card = (run.folder / "MODEL_CARD.md").read_text().split("---\n", 2)[2]
    return [Page(page), Page(markdown.to_html(card)), Page(markdown.to_html(pages.note(run)))]


@pytest.mark.fast
@pytest.mark.parametrize("put", WAYS)
def test_text_from_outside_is_text(run, put):
    put(run, "harmless")
    expected = [document.elements for document in documents(run)]
    for text in HOSTILE:
        put(run, text)
        shown = documents(run)
        assert [document.elements for document in shown] == expected, text
        # only the card names a class: the one that is met least often
        document = shown[1] if put is in_class_name else shown[0]
        assert text in document.text


@pytest.mark.fast
@pytest.mark.parametrize(
    "name",
    ["a, b", "a: b", "#5", "{a}", "[a", "'q' \"q\"", "---", "null", "0123", "ü 😀", "% @ ` | >"],
)
def test_the_cards_metadata_is_yaml(run, name):
    in_data_name(run, name)
    pages.write_report(run)
    _, metadata, text = (run.folder / "MODEL_CARD.md").read_text().split("---\n", 2)
    result = yaml.safe_load(metadata)["model-index"][0]["results"][0]
    assert result["dataset"]["name"] == name
    assert result["metrics"][0]["value"] == run.read_json("scores")["distance"]
    assert text.startswith("# Model card: ")


@pytest.mark.fast
@pytest.mark.parametrize("text", ["a", "a`b", "``", "`a", "a``b`c", "<b> $x$ \\(y\\)"])
def test_code_is_code(text):
    code = Page(markdown.to_html(f"x {markdown.code_span(text)} y"))
    assert code.elements == [("p", []), ("code", [])]
    assert code.text == f"x {text} y"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scores", {"distance": "0.5"}),
        ("scores", [1]),
        ("scores", {"distance": {}, "spread": 1, "real": None}),
        ("scores", {"classes": 7}),
        ("images/descriptions", ["a"]),
    ],
)
def test_a_record_that_no_report_can_be_made_from(run, name, value):
    write_json(run.folder / f"{name}.json", value)
    with pytest.raises(UserError, match=r"no report can be made from .* fashion-gan resume"):
        pages.write_report(run)


@pytest.mark.fast
def test_a_path_in_the_record_is_not_followed(run, tmp_path):
    other = tmp_path / "elsewhere"
    write_json(other / "features.json", {"judge": {"test_accuracy": 0.123456}})
    record = {"name": "Fashion-MNIST", "shape": [1, 28, 28], "classes": [""] * 10}
    run.update(data=record | {"networks": str(other)})
    assert "0.123456" not in pages.write_report(run).read_text()
    run.update(data=record | {"name": "mine", "networks": str(other)})
    assert "0.123456" not in pages.write_report(run).read_text()
    assert read_json(run.folder / "run.json")["data"]["networks"] == str(other)


@pytest.mark.fast
def test_the_verdict_says_that_a_training_was_too_short(run):
    def verdict(**changes):
        run.update(status="FINISHED", images_seen=40_000, params=run.info.params | changes)
        return " ".join(pages.note(run).split())

    short = "trained on 40,000 images; its recipe takes 500,000: fashion-gan resume"
    assert short in verdict(lr_decay_end=500_000)
    assert "as many as max_minutes left room for" in verdict(max_minutes=2.0)
    assert "its recipe takes" not in verdict(lr_decay_end=60_000)
    assert "its recipe takes" not in verdict(lr_decay_end=0)
