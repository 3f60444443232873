from generate import client


def test_the_client_that_blocks_is_made_from_the_other():
    assert client.FILE.read_text(encoding="utf-8") == client.text()
