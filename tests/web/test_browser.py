"""The page in a real browser, by keyboard: Debian's Chromium, where there is one. Nothing leaves this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import photo_pieces
from PIL import Image

from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.database import Selections
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page is not tried in a browser"),
]
SERVER = """
import sys
from pathlib import Path
from curator.index import Index
from curator.web import WebOptions, serve
with Index.open(Path(sys.argv[1])) as index:
    serve(index, WebOptions(port=18817), ready=lambda address, once: print(address, flush=True))
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pieces of photos, and of each a saved, a mirrored and a darker copy: enough rows to scroll."""
    home = tmp_path_factory.mktemp("browser")
    (home / "set").mkdir()
    for n, piece in enumerate(photo_pieces()):
        piece.save(home / "set" / f"{n:02d}.png")
        piece.save(home / "set" / f"{n:02d}-again.jpg", quality=80)
        piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(home / "set" / f"{n:02d}-mirror.png")
        piece.rotate(90, expand=True).save(home / "set" / f"{n:02d}-turned.png")
    (home / "set" / "<b>x.png").write_bytes((home / "set" / "00.png").read_bytes())
    with Index.create(home / "index") as index:
        ingest(index, [home / "set"], load_encoder("tiny"), IngestOptions())
        dedupe(index, DedupeOptions())
    return home


@pytest.fixture
def page(filled: Path, tmp_path: Path) -> Iterator[Any]:
    """A page on a server of its own, of a fresh copy of the index; at the end its console must be empty."""
    from playwright.sync_api import sync_playwright

    shutil.copytree(filled / "index", tmp_path / "index")
    with (
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path / "index")], stdout=subprocess.PIPE, text=True
        ) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce").new_page()
        said: list[str] = []
        asked: set[str] = set()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("/")[2] if "//" in request.url else "blob"))
        page.goto(address)
        page.index_folder, page.is_refused = tmp_path / "index", False
        page.wait_for_selector(".cell img[src]")
        try:
            yield page
        finally:
            browser.close()
            server.kill()
        # Chromium itself says of every refused request that it was.
        assert [text for text in said if not (page.is_refused and text.startswith("Failed to load"))] == []
        assert {host for host in asked if host} <= {address.split("/")[2], "blob"}


def until(page: Any, script: str) -> None:
    """Wait until a script is true; not by the page's own waiting, which its Content-Security-Policy forbids."""
    asked = f"(() => {{ try {{ return !!({script}); }} catch {{ return false; }} }})()"  # what is not drawn yet is null
    for _ in range(150):
        if page.evaluate(asked):
            return
        page.wait_for_timeout(100)
    raise AssertionError(script)


def count_of(page: Any, sql: str) -> int:
    with Index.open(page.index_folder) as index:
        return int(index.reader.rows(sql)[0][0])


def stored(page: Any, sql: str, count: int) -> None:
    """Wait until the database holds so many rows: the page saves behind what it shows."""
    for _ in range(100):
        if count_of(page, sql) == count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{sql}: {count_of(page, sql)}, not {count}")


def done(page: Any, text: str) -> None:
    """Wait until the latest action is this one."""
    stored(
        page, f"SELECT count(*) FROM (SELECT text FROM actions ORDER BY id DESC LIMIT 1) WHERE text LIKE '{text}'", 1
    )


def test_search_and_choice_by_keyboard_alone(page: Any) -> None:
    keys = page.keyboard
    assert page.locator(".tools .count").text_content() == "49 images"
    keys.press("/")
    keys.type("a flower")
    keys.press("Enter")
    until(page, "document.querySelector('.badge').textContent.length > 3")
    assert "q=a+flower" in page.url
    keys.press("Space")
    keys.press("Shift+ArrowRight")
    keys.press("Shift+ArrowRight")
    page.wait_for_selector(".chosen:not(.cell):visible")
    assert page.locator(".chosen:not(.cell) strong").text_content() == "3 chosen"
    keys.press("t")
    keys.type("good")
    keys.press("Enter")
    done(page, "tag good: 3 images")
    keys.press("Escape")
    keys.press("z")
    until(page, "document.querySelector('.toast').textContent.startsWith('Undone')")
    assert count_of(page, "SELECT count(*) FROM tags") == 0
    keys.press("s")
    until(page, "location.search.includes('q=id%3A')")
    page.go_back()
    until(page, "document.querySelector('[type=search]').value === 'a flower'")
    page.wait_for_timeout(500)  # the list of before comes back, with its place
    keys.press("End")
    until(page, "document.querySelector('.grid').getAttribute('aria-activedescendant') === 'cell-48'")
    page.wait_for_selector("#cell-48 img[src]")


def test_marks_rank_at_once_and_become_a_concept(page: Any) -> None:
    keys = page.keyboard
    keys.press("+")
    until(page, "location.search.includes('like=')")
    keys.press("End")
    keys.press("-")
    until(page, "location.search.includes('unlike=')")
    until(page, "document.querySelector('.badge').textContent.length > 3")
    page.fill(".marks input", "nice")
    page.click("text=Save as concept")
    until(page, "location.search.includes('concept')")
    done(page, "concept nice: 1 like, 1 unlike")


def test_an_image_and_its_neighbours(page: Any) -> None:
    page.keyboard.press("Enter")
    until(page, "location.pathname.startsWith('/image/')")
    page.wait_for_selector(".image h1")
    before = page.url
    page.keyboard.press("ArrowRight")
    until(page, f"location.href !== {json.dumps(before)}")
    page.wait_for_selector(".strip img")
    page.click("text=compare >> nth=0")
    until(page, "document.querySelector('.compare .note').textContent.startsWith('side by side')")
    page.keyboard.press("v")  # flicker is left out where motion is to be reduced
    until(page, "document.querySelector('.compare .note').textContent.startsWith('slider')")
    page.keyboard.press("v")
    until(page, "document.querySelector('.compare .note').textContent.startsWith('difference')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".grid")


def test_groups_are_reviewed_by_keyboard_and_taken_back(page: Any) -> None:
    keys = page.keyboard
    keys.press("g")
    keys.press("d")
    page.wait_for_selector(".kind")
    keys.press("Enter")
    page.wait_for_selector(".members")
    groups = int(page.locator("progress").get_attribute("max"))
    assert groups == 12
    for number in range(groups - 1):
        until(page, f"document.querySelector('strong')?.textContent.startsWith('Group {number + 1} of')")
        keys.press("a" if number % 3 else "n" if number % 2 else "b")
    until(page, f"document.querySelector('strong').textContent.startsWith('Group {groups} of')")
    stored(page, "SELECT count(*) FROM actions WHERE undone = 0", groups - 1)
    assert count_of(page, "SELECT count(*) FROM decisions WHERE verdict = 'reject'") > 15
    for _ in range(groups - 1):
        keys.press("z")
    stored(page, "SELECT count(*) FROM actions WHERE undone = 0", 0)
    assert count_of(page, "SELECT count(*) FROM decisions") == 0


def test_all_of_a_kind_are_accepted_after_a_question(page: Any) -> None:
    page.goto(page.url.split("/?")[0].rstrip("/") + "/duplicates")
    page.click("text=/Accept all/ >> nth=0")
    page.wait_for_selector("dialog[open]")
    page.click("dialog button >> nth=0")
    page.wait_for_selector("dialog", state="detached")
    done(page, "reject: %")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_selector(".activity td")
    assert page.locator(".activity td >> nth=2").text_content() == "web"


def test_a_filter_is_a_condition_and_wrong_ones_are_said(page: Any) -> None:
    page.click("summary:text-is('format')")
    page.click("label.value:has-text('JPEG') input")
    until(page, "document.querySelector('.where').value.startsWith('format = ')")
    until(page, "document.querySelector('.tools .count').textContent === '12 images'")
    page.is_refused = True
    page.fill(".where", "nosuch = 1")
    page.keyboard.press("Enter")
    page.wait_for_selector(".left .error")
    assert "no such column" in page.locator(".left .error").text_content()


def test_a_chosen_set_becomes_a_selection(page: Any) -> None:
    page.keyboard.press("Control+a")
    page.click("text=Into selection")
    page.fill("dialog input", "mine")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    done(page, "select mine%")
    with Index.open(page.index_folder) as index:
        assert len(Selections(index.reader).get("mine").ids) == 49


def test_names_are_text_and_controls_have_names(page: Any) -> None:
    page.keyboard.press("End")
    page.wait_for_selector(".title:has-text('<b>x.png')")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a[href], summary')].filter((e) =>
        !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("main").count() == 1
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000
    narrow = page.context.new_page()
    narrow.set_viewport_size({"width": 1024, "height": 768})
    narrow.goto(page.url)
    narrow.wait_for_selector(".cell img[src]")
    assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_last_place_of_the_server_is_said_when_it_is_gone(page: Any) -> None:
    page.is_refused = True
    page.route("**/api/changes", lambda route: route.abort())
    page.wait_for_selector(".banner:visible", timeout=10_000)
    assert "does not answer" in page.locator(".banner").text_content()
    page.unroute("**/api/changes")
    page.wait_for_selector(".banner", state="hidden", timeout=10_000)


def test_the_map_is_lassoed_into_a_selection(page: Any) -> None:
    keys = page.keyboard
    keys.press("g")
    keys.press("m")
    page.wait_for_selector(".plot")
    until(page, "document.querySelector('[aria-label=\"Legend\"] h2, .map .count').textContent.length > 0")
    until(page, "document.querySelector('.map .count').textContent === '49 images'")
    box = page.locator(".plot").bounding_box()
    keys.press("l")
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if not number:
            page.mouse.down()
    page.mouse.up()
    until(page, "document.querySelector('.chosen:not(.cell) strong')?.textContent.endsWith('chosen')")
    assert "lasso=new%3A" in page.url
    chosen = page.locator(".chosen:not(.cell) strong").text_content()
    page.click("text=Into selection")
    page.fill("dialog input", "around")
    keys.press("Enter")
    done(page, "select around%")
    with Index.open(page.index_folder) as index:
        assert f"{len(Selections(index.reader).get('around').ids)} chosen" == chosen
    page.reload()  # the choice is in the address
    until(page, f"document.querySelector('.chosen:not(.cell) strong')?.textContent === {json.dumps(chosen)}")
    keys.press("Enter")
    until(page, "location.pathname === '/' && location.search.includes('chosen=')")
    until(page, f"document.querySelector('.tools .count').textContent === '{chosen.split()[0]} images'")


def test_a_lasso_of_another_layout_is_refused(page: Any) -> None:
    page.goto(page.url.split("/?")[0].rstrip("/") + "/map?lasso=new%3A0%2C0%2C1%2C0%2C1%2C1&layout=0123456789abcdef")
    until(page, "document.querySelector('.toast')?.textContent.includes('another layout')")
    assert page.locator(".chosen:not(.cell)").is_hidden()


def test_a_selection_is_built_by_keyboard_and_undone(page: Any) -> None:
    keys = page.keyboard
    keys.press("g")
    keys.press("l")
    until(page, "document.querySelector('.selections .empty, .selections table') !== null")
    keys.press("n")
    page.wait_for_selector(".recipe")
    page.fill("input[name=n]", "9")
    page.fill("input[name=also]", "k-center")
    until(page, "document.querySelectorAll('.columns > section').length === 3")
    until(page, "location.search.includes('also=k-center')")
    page.fill("[aria-label='Name of the selection']", "nine")
    page.click("text=Save")
    until(page, "document.querySelector('h1')?.textContent === 'nine'")
    done(page, "select nine%")
    with Index.open(page.index_folder) as index:
        assert len(Selections(index.reader).get("nine").ids) == 9
    page.is_refused = True  # what the address names is gone then
    keys.press("z")
    stored(page, "SELECT count(*) FROM selections", 0)


def test_views_without_anything_say_what_to_do(page: Any) -> None:
    for key, words in (
        ("r", "Nothing was trained yet"),
        ("l", "Nothing is selected yet"),
        ("a", "Nothing was done yet"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        until(page, f"document.querySelector('main').textContent.includes({json.dumps(words)})")


def test_a_label_is_written_on_the_image_and_by_many(page: Any) -> None:
    keys = page.keyboard
    keys.press("Space")
    keys.press("Shift+ArrowRight")
    keys.press("e")
    keys.type("thing")
    keys.press("Enter")
    done(page, "label _thing_: 2 images")
    page.wait_for_selector(".title:has-text('thing')")
    keys.press("Enter")
    page.wait_for_selector("[aria-label='Edit the label']")
    keys.press("e")
    page.wait_for_selector("dialog input")
    page.fill("dialog input", "other")
    keys.press("Enter")
    until(page, "document.querySelector('table.facts').textContent.includes('other')")
    keys.press("z")
    until(page, "document.querySelector('table.facts').textContent.includes('thing')")


VIEWS = ["/", "/map", "/duplicates?review=1", "/selections/new", "/issues", "/runs", "/activity"]


@pytest.mark.parametrize("view", VIEWS)
def test_views_fit_a_narrow_window_and_twice_the_size(page: Any, view: str) -> None:
    """1024 by 768, and what is left of a window of 1440 by 900 at 200 %: nothing scrolls sideways."""
    page.goto(page.url.split("/?")[0].rstrip("/") + view)
    for width, height in ((1024, 768), (720, 450)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(700)
        for element in ("document.documentElement", "document.querySelector('main')"):
            assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth + 1"), (view, width)


@pytest.mark.parametrize("view", [*VIEWS, "/image/1", "/selections"])
def test_every_control_of_every_view_has_a_name(page: Any, view: str) -> None:
    """By the tree that a screen reader is given: every control named, one main, a list beside each canvas."""
    page.goto(page.url.split("/?")[0].rstrip("/") + view)
    page.wait_for_timeout(1_200)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "textbox", "searchbox", "combobox", "checkbox", "slider", "spinbutton", "img", "grid")
    nodes = [n for n in tree if not n.get("ignored") and n.get("role", {}).get("value") in (*roles, "main")]
    assert sum(n["role"]["value"] == "main" for n in nodes) == 1
    unnamed = [n["role"]["value"] for n in nodes if n["role"]["value"] in roles and not n.get("name", {}).get("value")]
    assert unnamed == []
    small = page.evaluate(
        """() => [...document.querySelectorAll('main button, main select, main input')].filter((e) => e.offsetParent
        && e.getBoundingClientRect().height < 24 && !/range|checkbox/.test(e.type)).map((e) => e.outerHTML)"""
    )
    assert small == []


def test_a_second_tab_sees_it_and_indexing_goes_on_beside(page: Any, filled: Path) -> None:
    other = page.context.new_page()
    other.goto(page.url.split("/?")[0].rstrip("/") + "/activity")
    other.wait_for_selector(".activity .empty")
    page.bring_to_front()
    page.keyboard.press("t")
    page.keyboard.type("seen")
    page.keyboard.press("Enter")
    done(page, "tag seen: 1 image")
    other.bring_to_front()
    other.wait_for_selector("td:has-text('tag seen')", timeout=3_000)
    more = filled / "more"
    more.mkdir(exist_ok=True)
    for n, piece in enumerate(photo_pieces()[:3]):
        piece.rotate(17).save(more / f"{n}.png")
    with Index.open(page.index_folder) as index:
        ingest(index, [more], load_encoder("tiny"), IngestOptions())
    page.bring_to_front()
    page.wait_for_selector(".banner:visible", timeout=6_000)
    assert "3 new images" in page.locator(".banner").text_content()
    page.click(".banner button")
    until(page, "document.querySelector('.tools .count').textContent === '52 images'")


def test_a_dropped_picture_is_the_query(page: Any, filled: Path) -> None:
    data = (filled / "set" / "03.png").read_bytes()
    page.evaluate(
        """(bytes) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
        window.dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
        }""",
        list(data),
    )
    until(page, "location.search.includes('q=picture%3A')")
    until(page, "document.querySelector('.badge').textContent.startsWith('1.00')")
    page.go_back()
    until(page, "!location.search.includes('picture')")
    page.go_forward()
    until(page, "location.search.includes('q=picture%3A')")


def test_a_reload_finds_the_place_again(page: Any) -> None:
    for _ in range(4):
        page.keyboard.press("PageDown")
    at = page.locator(".grid").get_attribute("aria-activedescendant")
    assert at != "cell-0"
    page.reload()
    until(page, f"document.querySelector('.grid')?.getAttribute('aria-activedescendant') === {json.dumps(at)}")
    page.wait_for_selector(f"#{at}")


def test_a_mark_set_while_a_tag_is_saved_is_taken_back_first(page: Any) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/api/tag", hold)
    page.keyboard.press("t")
    page.keyboard.type("slow")
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('dialog')")
    for _ in range(100):
        if held:
            break
        page.wait_for_timeout(50)
    page.keyboard.press("+")
    until(page, "location.search.includes('like=')")
    assert len(held) == 1
    with page.expect_response("**/api/tag"):
        held[0].continue_()
    done(page, "tag slow: 1 image")
    page.wait_for_timeout(1_000)
    page.keyboard.press("z")
    until(page, "!location.search.includes('like=')")
    assert count_of(page, "SELECT count(*) FROM tags") == 1, "the tag was asked for before the mark"
    page.keyboard.press("z")
    stored(page, "SELECT count(*) FROM tags", 0)


def test_a_key_pressed_as_a_dialog_closes_belongs_to_what_is_below(page: Any) -> None:
    typed = """(keys) => { for (const key of keys) document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); }"""
    page.evaluate(typed, ["t", "Enter", "+", "/"])  # in one task: the browser says later that the dialog has closed
    until(page, "location.search.includes('like=') && !document.querySelector('dialog')")
    assert page.evaluate("document.activeElement.type") == "search", "the focus was taken from where the key had put it"
    page.keyboard.press("Escape")
    page.evaluate(typed, ["?", "Escape", "0"])
    until(page, "!location.search.includes('like=') && !document.querySelector('dialog')")
    assert page.evaluate("document.activeElement.className") == "grid", "the focus was given back"


def test_marks_keep_the_cursor_and_are_undone_before_what_is_saved(page: Any) -> None:
    keys = page.keyboard
    under = "document.querySelector('#' + document.querySelector('.grid').getAttribute('aria-activedescendant'))"
    picture = f"{under}.querySelector('img').src"
    keys.press("t")
    keys.type("before")
    keys.press("Enter")
    done(page, "tag before: 1 image")
    keys.press("+")
    until(page, "location.search.includes('like=')")
    for _ in range(7):
        keys.press("ArrowRight")
    until(page, f"({picture}).startsWith('blob:')")
    marked = page.evaluate(picture)
    keys.press("+")
    until(page, "location.search.split('like=')[1].includes('%2C')")
    until(page, "document.querySelector('.badge').textContent.length > 3")
    until(page, f"{picture} === {json.dumps(marked)}")
    keys.press("z")
    until(page, "!location.search.includes('%2C')")
    keys.press("z")
    until(page, "!location.search.includes('like=')")
    assert count_of(page, "SELECT count(*) FROM tags") == 1, "marks are taken back before what was saved"
    keys.press("z")
    stored(page, "SELECT count(*) FROM tags", 0)
