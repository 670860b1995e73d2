def test_a_person_can_log_in(app):
    assert app.http.get(f"{app.url}/login").status_code == 200


def test_what_a_person_writes_is_there(app):
    assert app.http.put(f"{app.url}/note.txt", data="hello").status_code == 201
    assert app.http.get(f"{app.url}/note.txt").text == "hello"
