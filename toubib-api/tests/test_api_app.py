import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., tuple[int, Any]]


def test_a_value_that_does_not_fit_its_column_stays_out_of_the_log(
    serve: Callable[..., Call], tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    call = serve()
    with closing(sqlite3.connect(tmp_path / "toubib.sqlite")) as connection, connection:
        connection.execute("update patients set total_visits = 'Œuvrard' where id = 1")
    status, answer = call("GET", "/v1/patients/1")
    assert status == 500
    assert answer["detail"] == [
        {
            "type": "int_parsing",
            "loc": ["response", "data", "total_visits"],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
        }
    ]
    assert "Œuvrard" not in caplog.text + "".join(capfd.readouterr())
