"""What visitors see of what is written."""

from __future__ import annotations

import base64

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_a_post_is_read_by_visitors(app, editor, words):
    post = editor.write("News", words, "publish")
    page = app.http.get(post["link"])
    assert page.status_code == 200
    assert words in page.text


def test_a_draft_is_not(app, editor, words):
    post = editor.write("Later", words, "draft")
    assert app.http.get(post["link"]).status_code == 404
    assert words not in app.http.get(f"{app.url}/?s=Words").text


def test_an_image_is_uploaded_and_served(app, editor, words):
    name = f"{words.replace(' ', '-')}.png"
    headers = {"Content-Type": "image/png", "Content-Disposition": f'attachment; filename="{name}"'}
    image = editor.call("POST", "media", data=PIXEL, headers=headers)
    assert app.http.get(image["source_url"]).content == PIXEL
